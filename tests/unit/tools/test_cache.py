"""The cache of engines: damaged entries are replaced, failed ones leave nothing, and two processes at once make one."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.tools.engines import engine, make_engine
from tools.engine import cache
from tools.engine.search import NotUsableError


def _quiet(_text: str) -> None:
    pass


def test_a_cached_engine_is_found_with_its_origin(tmp_path: Path) -> None:
    cache.fill(tmp_path, make_engine, _quiet)
    assert cache.look(tmp_path) == "made by a test"
    assert sorted(entry.name for entry in (tmp_path / "engine").iterdir()) == ["v3.259.0", "v3.259.0.lock"]


@pytest.mark.parametrize("damage", ["no seal", "torn seal", "truncated", "no binary", "wrong version"])
def test_a_damaged_engine_is_replaced(tmp_path: Path, damage: str) -> None:
    cache.fill(tmp_path, make_engine, _quiet)
    place = cache.folder(tmp_path)
    if damage == "no seal":
        (place / "complete.json").unlink()
    elif damage == "torn seal":
        (place / "complete.json").write_text('{"size": 1', encoding="utf-8")
    elif damage == "truncated":
        os.truncate(place / "pulumi", 5)
    elif damage == "no binary":
        (place / "pulumi").unlink()
    else:
        size = engine(place, "v3.259.1").stat().st_size
        engine(place, "v3.200.0")
        assert size == (place / "pulumi").stat().st_size
    with pytest.raises(NotUsableError):
        cache.look(tmp_path)
    cache.fill(tmp_path, make_engine, _quiet)
    assert cache.look(tmp_path) == "made by a test"


def test_a_failed_installation_leaves_nothing(tmp_path: Path) -> None:
    def half(place: Path) -> str:
        (place / "pulumi").write_bytes(b"half")
        raise NotUsableError("the disk is full")

    with pytest.raises(NotUsableError, match="disk is full"):
        cache.fill(tmp_path, half, _quiet)
    assert [entry.name for entry in (tmp_path / "engine").iterdir()] == ["v3.259.0.lock"]


def test_an_engine_of_the_wrong_version_is_refused(tmp_path: Path) -> None:
    def old(place: Path) -> str:
        engine(place, "v3.1.0", ())
        return "old"

    with pytest.raises(NotUsableError, match=r"is v3\.1\.0"):
        cache.fill(tmp_path, old, _quiet)
    assert not cache.folder(tmp_path).exists()


def test_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    left = tmp_path / "engine" / "v3.259.0.tmp-1"
    left.mkdir(parents=True)
    (left / "pulumi").write_bytes(b"half")
    cache.fill(tmp_path, make_engine, _quiet)
    assert not left.exists()


def test_eight_processes_at_once_install_one_engine(tmp_path: Path) -> None:
    made: list[Path] = []
    messages: list[str] = []
    start = threading.Barrier(8)

    def make(place: Path) -> str:
        made.append(place)
        time.sleep(0.2)
        return make_engine(place)

    def one(_number: int) -> str:
        start.wait()
        cache.fill(tmp_path, make, messages.append)
        return cache.look(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == ["made by a test"] * 8
    assert len(made) == 1
    assert messages == ["waiting for another process that downloads or builds the engine"] * 7


def test_the_seal_names_the_binary(tmp_path: Path) -> None:
    cache.fill(tmp_path, make_engine, _quiet)
    seal = json.loads((cache.folder(tmp_path) / "complete.json").read_text(encoding="utf-8"))
    assert seal["size"] == (cache.folder(tmp_path) / "pulumi").stat().st_size
    assert len(seal["sha256"]) == 64
