"""Objects of the run bucket by URL, and attempt numbers that are claimed once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuyard.training_jobs.launch import objects as files
from gpuyard.training_jobs.launch.__main__ import claim
from gpuyard.training_jobs.launch.node_exit import EndedError


def test_claims_never_share_a_number(tmp_path: Path) -> None:
    submission = {"attempt": 3, "job": {"nodes": 2}}
    with ThreadPoolExecutor(16) as pool:
        numbers = list(pool.map(lambda _: claim(tmp_path.as_uri(), 0, "local", submission)["attempt"], range(48)))
    assert sorted(numbers) == list(range(3, 51))
    assert json.loads((tmp_path / "attempts/3.json").read_text())["nodes"] == 2
    assert not list((tmp_path / "attempts").glob(".tmp-*"))


def test_objects_by_url(tmp_path: Path) -> None:
    url = (tmp_path / "a folder/x.json").as_uri()
    assert files.read(url) is None
    assert files.create(url, b"1")
    assert not files.create(url, b"2")
    assert files.read(url) == b"1"
    files.write(url, b"3")
    assert files.read(url) == b"3"
    assert files.names((tmp_path / "a folder").as_uri()) == ["x.json"]
    files.remove(url)
    files.remove(url)
    assert files.names((tmp_path / "a folder").as_uri()) == []


def test_objects_of_another_scheme_go_through_fsspec() -> None:
    url = "memory://launch-test/x.json"
    assert files.read(url) is None
    files.write(url, b"1")
    assert (files.read(url), files.names("memory://launch-test")) == (b"1", ["x.json"])
    assert not files.create(url, b"2")
    files.remove(url)
    assert files.read(url) is None


def test_a_scheme_without_its_package_is_told() -> None:
    with pytest.raises(EndedError, match="pip install fsspec and its file system for nosuch://") as refused:
        files.read("nosuch://bucket/x")
    assert refused.value.code == 64
