"""The checkpoint folder of a user's script: mirrored completely or not at all, and restored alike on every node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpuyard.training_jobs.launch import checkpoint_folder, hook, objects
from gpuyard.training_jobs.launch.checkpoint_folder import CheckpointFolder, Place, SupersededError


def _node(tmp_path: Path, url: str, node: int = 0, attempt: int = 1, nodes: int = 1, keep: int = 3) -> CheckpointFolder:
    """Return a node's folder in an attempt, restored. Each attempt has new machines."""
    folder = CheckpointFolder(url, tmp_path / f"machine-{attempt}-{node}/checkpoints", Place(node, nodes, 0, attempt, 0), keep)
    folder.restore()
    return folder


def _content(folder: CheckpointFolder) -> dict[str, str]:
    return {path.relative_to(folder.path).as_posix(): path.read_text() for path in folder.path.rglob("*") if path.is_file()}


def _write(folder: CheckpointFolder, **files: str) -> None:
    for name, text in files.items():
        path = folder.path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_every_node_restores_the_files_of_all_nodes(tmp_path: Path, place: str) -> None:
    url = (tmp_path / "bucket").as_uri() if place == "disk" else "memory://folder/checkpoints"
    first, second = _node(tmp_path, url, 0, nodes=2), _node(tmp_path, url, 1, nodes=2)
    assert _content(first) == {}
    _write(first, newest="step 1", shards__0="a", old="x")
    _write(second, newest="a later copy", shards__1="b")
    assert [second.save(), first.save()] == [True, True]
    (first.path / "old").unlink()
    _write(second, shards__1="bb")
    assert [second.save(), first.save()] == [True, True]
    wanted = {"newest": "step 1", "shards/0": "a", "shards/1": "bb"}
    again = [_node(tmp_path, url, node, attempt=2, nodes=2) for node in (0, 1)]
    assert [_content(folder) for folder in again] == [wanted, wanted]
    (again[0].path / "shards/1").unlink()  # the other node has only restored it, so it is gone
    assert [again[1].save(), again[0].save()] == [True, True]
    assert _content(_node(tmp_path, url, attempt=3)) == {"newest": "step 1", "shards/0": "a"}


def test_a_failed_save_keeps_the_previous_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    url = (tmp_path / "bucket").as_uri()
    folder = _node(tmp_path, url)
    _write(folder, newest="1")
    assert folder.save()

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(objects, "write", full)
        _write(folder, newest="2")
        assert not folder.save()
    assert "cannot save the checkpoint folder: No space left on device; the last save is intact" in capsys.readouterr().err
    assert _content(_node(tmp_path, url, attempt=2)) == {"newest": "1"}
    with monkeypatch.context() as patched:
        patched.setattr(objects, "list_names", full)
        assert not folder.save()
    assert folder.save()


def test_an_old_attempt_exits_resumable_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = (tmp_path / "bucket").as_uri()
    old = _node(tmp_path, url, attempt=1)
    new = _node(tmp_path, url, attempt=2)
    _write(new, newest="new")
    assert new.save()
    _write(old, newest="old")
    with pytest.raises(SupersededError, match="attempt 2 of this run has saved, so this older attempt 1 exits"):
        old.save()
    monkeypatch.setenv("GPUYARD_CHECKPOINT_URL", url)
    monkeypatch.setattr(checkpoint_folder, "current", lambda: old)
    with pytest.raises(SystemExit) as ended:
        hook.save_checkpoints()
    assert ended.value.code == 75
    assert _content(_node(tmp_path, url, attempt=3)) == {"newest": "new"}


@pytest.mark.parametrize("damage", ["flipped", "missing", "torn marker"])
def test_a_damaged_save_is_skipped(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = (tmp_path / "bucket").as_uri()
    folder = _node(tmp_path, url)
    for text in ("1", "2"):
        _write(folder, newest=text)
        assert folder.save()
    marker = tmp_path / "bucket/folder/commit-1-2.json"
    content = tmp_path / "bucket/folder/1" / json.loads(marker.read_text())["newest"]["sha256"]
    if damage == "torn marker":
        marker.write_text(marker.read_text()[:9])
    elif damage == "missing":
        content.unlink()
    else:
        content.write_text("3")
    assert _content(_node(tmp_path, url, attempt=2)) == {"newest": "1"}
    assert "save 2 of attempt 1 is damaged, using the previous one" in capsys.readouterr().out


def test_unchanged_files_are_uploaded_once_and_old_saves_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads, upload = list[str](), objects.upload

    def recorded(url: str, path: Path) -> None:
        uploads.append(path.name)
        upload(url, path)

    monkeypatch.setattr(objects, "upload", recorded)
    folder = _node(tmp_path, (tmp_path / "bucket").as_uri(), keep=1)
    _write(folder, large="same")
    for text in ("1", "2", "3"):
        _write(folder, newest=text)
        assert folder.save()
    assert uploads == ["large", "newest", "newest", "newest"]
    assert [path.name for path in (tmp_path / "bucket/folder").glob("commit-*")] == ["commit-1-3.json"]
    assert len(list((tmp_path / "bucket/folder/1").iterdir())) == 2


def test_the_other_processes_of_a_node_wait_for_local_rank_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_folder, "_NODES_WAIT_S", 0.0)
    url, path = (tmp_path / "bucket").as_uri(), tmp_path / "machine/checkpoints"
    other = CheckpointFolder(url, path, Place(0, 1, 1, 1, 0), 3)
    with pytest.raises(TimeoutError, match="local rank 0 has not restored"):
        other.restore()
    CheckpointFolder(url, path, Place(0, 1, 0, 1, 0), 3).restore()
    other.restore()
    assert other.save()  # local rank 0 mirrors the folder


def test_outside_gpuyard_the_folder_is_a_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUYARD_CHECKPOINT_URL", raising=False)
    monkeypatch.setattr(hook, "_EXIT_WATCHDOG_S", 86_400)
    assert hook.checkpoints() == Path("checkpoints")
    assert (tmp_path / "checkpoints").is_dir()
    assert hook.save_checkpoints()
    with pytest.raises(SystemExit) as ended:
        hook.save_checkpoints(leave=True)
    assert ended.value.code == 75


def test_a_vote_for_a_stop_may_be_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    monkeypatch.setattr(hook, "_state", {})
    (tmp_path / "stop").touch()
    assert [hook.stop_requested(every=3) for _ in range(4)] == [False, False, True, False]
