"""Objects of the run bucket by URL, and attempt numbers that are claimed once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.launch import objects
from gpuyard.training_jobs.launch.__main__ import claim_attempt
from gpuyard.training_jobs.launch.node_exit import NodeExitError


def test_concurrent_claims_get_different_numbers(tmp_path: Path) -> None:
    submission: Any = {"attempt": 3, "job": {"nodes": 2}}
    with ThreadPoolExecutor(16) as pool:
        numbers = list(pool.map(lambda _: claim_attempt(tmp_path.as_uri(), 0, "local", submission), range(48)))
    assert sorted(numbers) == list(range(3, 51))
    assert json.loads((tmp_path / "attempts/3.json").read_text())["nodes"] == 2
    assert not list((tmp_path / "attempts").glob(".tmp-*"))


def test_objects_on_disk(tmp_path: Path) -> None:
    url = (tmp_path / "a folder/x.json").as_uri()
    assert objects.read(url) is None
    assert objects.create(url, b"1")
    assert not objects.create(url, b"2")
    assert objects.read(url) == b"1"
    objects.write(url, b"3")
    assert objects.read(url) == b"3"
    assert objects.list_names((tmp_path / "a folder").as_uri()) == ["x.json"]
    objects.remove(url)
    objects.remove(url)
    assert objects.list_names((tmp_path / "a folder").as_uri()) == []


def test_objects_of_another_scheme_go_through_fsspec() -> None:
    url = "memory://launch-test/x.json"
    assert objects.read(url) is None
    objects.write(url, b"1")
    assert (objects.read(url), objects.list_names("memory://launch-test")) == (b"1", ["x.json"])
    assert not objects.create(url, b"2")
    objects.remove(url)
    assert objects.read(url) is None


def test_an_unknown_scheme_is_refused_with_the_fix() -> None:
    with pytest.raises(NodeExitError, match="pip install fsspec and its file system for nosuch://") as refused:
        objects.read("nosuch://bucket/x")
    assert refused.value.code == 64
