"""Checkpoints on one rank: saved, loaded, kept, damaged in every way, and written by an old attempt."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from fsspec.implementations.memory import MemoryFileSystem
from torch._C._distributed_c10d import HashStore

from gpuyard.training_jobs.train.checkpoint import CheckpointSaver, StorageError, load_checkpoint
from gpuyard.training_jobs.train.checkpoint_store import CheckpointStore, Commit, SupersededError

STATE = {"model/w": torch.arange(4.0), "optimizer/w/step": torch.tensor(3.0)}


@pytest.fixture(autouse=True, scope="module")
def _one_rank() -> Iterator[None]:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _saved(url: str, attempt: int, *steps: int, keep: int = 3, keep_every: int = 0, asynchronous: bool = False) -> CheckpointStore:
    checkpoints = CheckpointStore(url, attempt, keep, keep_every)
    saver = CheckpointSaver(checkpoints, asynchronous)
    for step in steps:
        saver.save(step, STATE, {"lost_steps": 0})
    saver.finish()
    saver.close()
    return checkpoints


def _newest_readable(checkpoints: CheckpointStore) -> Commit | None:
    """Return the newest checkpoint that can be read."""
    for commit in checkpoints.committed():
        state = {name: torch.zeros_like(tensor) for name, tensor in STATE.items()}
        try:
            load_checkpoint(checkpoints, commit, checkpoints.marker(commit), state)
        except (OSError, ValueError):
            continue
        assert all(torch.equal(state[name], tensor) for name, tensor in STATE.items())
        return commit
    return None


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("place", ["disk", "memory"])
def test_a_checkpoint_loads_as_it_was_saved(tmp_path: Path, place: str, asynchronous: bool) -> None:
    url = (tmp_path / "with space").as_uri() if place == "disk" else f"memory://store-{asynchronous}/checkpoints"
    checkpoints = _saved(url, 2, 200, 400, asynchronous=asynchronous)
    assert _newest_readable(checkpoints) == Commit(2, 400)
    marker = checkpoints.marker(Commit(2, 400))
    assert (marker["step"], marker["attempt"], marker["lost_steps"]) == (400, 2, 0)
    if place == "disk":
        names = sorted(path.name for path in (tmp_path / "with space/400").iterdir())
        assert names == ["commit-2.json", "state-2-0-0.safetensors"]


def test_failed_calls_of_a_store_are_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def flaky(real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls % 3 == 0:
                raise OSError("try again")
            return real(*args, **more)

        return call

    for name in ("pipe_file", "cat_file", "ls", "rm_file"):
        monkeypatch.setattr(MemoryFileSystem, name, flaky(getattr(MemoryFileSystem, name)))
    monkeypatch.setattr("gpuyard.training_jobs.launch.storage._PAUSES_S", (0.0,) * 4)
    assert _newest_readable(_saved("memory://flaky/checkpoints", 1, 5, 10, 15, keep=1)) == Commit(1, 15)
    assert calls > 12


def test_the_newest_and_every_mth_checkpoint_are_kept(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path.as_uri(), 1, 5, 10, 15, 20, 25, keep=2, keep_every=10)
    assert [commit.step for commit in checkpoints.committed()] == [25, 20, 10]
    checkpoints.best = 10
    checkpoints._keep_every = 0
    checkpoints.delete_old()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "20", "25"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "no state", "no marker", "torn marker"])
def test_a_damaged_checkpoint_is_skipped(tmp_path: Path, damage: str) -> None:
    checkpoints = _saved(tmp_path.as_uri(), 1, 5, 10)
    state, marker = tmp_path / "10/state-1-0-0.safetensors", tmp_path / "10/commit-1.json"
    whole = state.read_bytes()
    if damage == "cut":
        state.write_bytes(whole[:-3])
    elif damage == "flipped":
        state.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "torn marker":
        marker.write_text(marker.read_text()[:20])
    else:
        (state if damage == "no state" else marker).unlink()
    assert _newest_readable(checkpoints) == Commit(1, 5)


def test_an_old_attempt_cannot_overwrite_or_supersede_a_newer_one(tmp_path: Path) -> None:
    old = _saved(tmp_path.as_uri(), 1, 5, 10)
    new = _saved(tmp_path.as_uri(), 2, 10)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*-2*")}
    with pytest.raises(SupersededError, match="attempt 2 has saved step 10, so this older attempt 1 exits"):
        CheckpointSaver(old, False).save(15, STATE, {})
    # The old attempt checked before attempt 2 saved, and writes now:
    old.put(15, "state-1-0-0.safetensors", [b"late"])
    old.put(15, "commit-1.json", [json.dumps({"files": {}}).encode()])
    old.delete_old()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*-2*")} == before
    assert _newest_readable(new) == Commit(2, 10)


@pytest.mark.parametrize("marker", [b"", b"{}", b"[]", b"\xff", b'{"files": {}, "attempt": 999999999}', b'{"files": {"a": {"bytes": 1}}}'])
@pytest.mark.parametrize("name", ["commit-999999999.json", "commit-².json", "commit-1_0.json", "commit-+7.json"])
def test_a_planted_marker_does_not_fence_and_deletes_nothing(tmp_path: Path, name: str, marker: bytes) -> None:
    checkpoints = _saved(tmp_path.as_uri(), 1, 5)
    (tmp_path / "10").mkdir()
    (tmp_path / "10" / name).write_bytes(marker)
    CheckpointSaver(checkpoints, False).save(15, STATE, {})
    assert _newest_readable(checkpoints) == Commit(1, 15)


def _save_and_wait(saver: CheckpointSaver) -> None:
    saver.save(10, STATE, {})
    saver.finish()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_failed_save_keeps_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, asynchronous: bool) -> None:
    checkpoints = _saved(tmp_path.as_uri(), 1, 5)

    def fail(handle: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("os.fsync", fail)
    saver = CheckpointSaver(checkpoints, asynchronous)
    with pytest.raises(StorageError, match="cannot save step 10: no"):
        _save_and_wait(saver)
    monkeypatch.undo()
    assert _newest_readable(checkpoints) == Commit(1, 5)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".tmp-")]
