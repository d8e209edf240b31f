"""The dynamic providers of `local`, called directly: create, read, diff, update and delete, and their errors."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

from gpuyard.components.local import files
from gpuyard.components.local.disk import BucketProvider, PoolProvider, TargetsProvider
from gpuyard.components.local.files import Refused, as_content
from gpuyard.components.local.leases import process_start

PROVIDERS = [BucketProvider, PoolProvider, TargetsProvider]


def document(nodes: int, slots: int = 2) -> str:
    return as_content({"version": 1, "nodes": [{"index": index, "slots": slots} for index in range(nodes)]})


def targets(pool: Path, bucket: str = "/b", stack: str = "gpuyard/local", **more: Any) -> str:
    return as_content({"p": {"stack": stack, "pool_dir": str(pool), "buckets": {"runs": f"file://{bucket}"}, **more}})


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pools" / "p"
    PoolProvider().create({"path": str(path), "content": document(2)})
    return path


@pytest.fixture
def job() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def lease(pool: Path, pid: int, nodes: list[int], started: str | None = None) -> None:
    data = {"version": 1, "run_id": "r-1", "pid": pid, "started": started or process_start(pid), "nodes": nodes}
    (pool / "leases" / "r-1.json").write_text(json.dumps(data))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_reference_in_state_is_short(provider: type[ResourceProvider]) -> None:
    reference = serialize_provider(provider())
    assert len(reference) <= 96
    assert provider.__name__.encode() in base64.b64decode(reference)
    assert b"gpuyard.components.local.disk" in base64.b64decode(reference), "a frozen contract: `destroy` imports the class from there"
    assert provider.serialize_as_secret_always is False


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_new_path_replaces_and_other_changes_update(provider: type[ResourceProvider]) -> None:
    old = {"path": "/a", "content": "1", "__provider": "x"}
    assert provider().diff("/a", old, {**old, "__provider": "y"}).changes is False
    update = provider().diff("/a", old, {**old, "content": "2"})
    assert (update.changes, update.replaces) == (True, [])
    moved = provider().diff("/a", old, {**old, "path": "/b"}).replaces
    assert moved == ([] if provider is BucketProvider else ["path"]), "a bucket's directory stays where it was made"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_missing_path_reads_as_deleted_and_can_be_deleted(provider: type[ResourceProvider], tmp_path: Path) -> None:
    path = str(tmp_path / "never" / "made")
    read = provider().read(path, {})
    assert (read.id, read.outs) == (None, {})
    provider().delete(path, {"content": "{}"})
    assert list(tmp_path.iterdir()) == []


def test_bucket_create_drift_update_delete(tmp_path: Path) -> None:
    path, provider = tmp_path / "buckets" / "runs", BucketProvider()
    props = {"path": str(path), "mode": "0700"}
    assert provider.create(props).outs == props
    assert mode(path) == 0o700
    path.chmod(0o755)
    drifted = provider.read(str(path), props)
    assert drifted.outs == {"path": str(path), "mode": "0755"}
    assert provider.diff(str(path), drifted.outs, props).changes
    assert provider.update(str(path), drifted.outs, props).outs == props
    assert mode(path) == 0o700
    (path / "deep" / "er").mkdir(parents=True)
    provider.delete(str(path), props)
    assert not (tmp_path / "buckets").exists()


def test_a_renamed_bucket_keeps_its_directory(tmp_path: Path) -> None:
    old, provider = {"path": str(tmp_path / "old"), "mode": "0700"}, BucketProvider()
    provider.create(old)
    (tmp_path / "old" / "data").write_text("kept")
    new = {"path": str(tmp_path / "new"), "mode": "0700"}
    assert not provider.diff(old["path"], old, new).changes
    assert provider.diff(old["path"], {**old, "mode": "0755"}, new).changes
    assert provider.update(old["path"], {**old, "mode": "0755"}, new).outs == old
    assert (tmp_path / "old" / "data").read_text() == "kept"


def test_bucket_uses_an_empty_directory_and_makes_it_private(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir(mode=0o755)
    BucketProvider().create({"path": str(tmp_path / "b"), "mode": "0700"})
    assert mode(tmp_path / "b") == 0o700


def test_bucket_refuses_directories_with_files_and_non_directories(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("mine")
    with pytest.raises(
        Refused, match=r"full has files that this stack did not make \(thesis.tex\); .*`existing: .*full`.*move the files away"
    ):
        BucketProvider().create({"path": str(full), "mode": "0700"})
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(Refused, match=f"{name} is not a directory; move it away"):
            BucketProvider().create({"path": str(tmp_path / name), "mode": "0700"})
    assert (full / "thesis.tex").read_text() == "mine"


def test_bucket_delete_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "data").write_text("kept")
    (tmp_path / "b").symlink_to(tmp_path / "real")
    with pytest.raises(Refused, match="is now a symbolic link"):
        BucketProvider().delete(str(tmp_path / "b"), {})
    assert (tmp_path / "real" / "data").read_text() == "kept"


def test_os_errors_become_refusals_with_path_and_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"file.*: Not a directory; free disk space, make the directory writable, or set `local:root`"):
        BucketProvider().create({"path": str(tmp_path / "file" / "b"), "mode": "0700"})


def test_a_full_disk_keeps_the_old_pool_json(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match=f"{pool}: No space left on device; free disk space"):
        PoolProvider().update(str(pool), {}, {"content": document(3)})
    assert (pool / "pool.json").read_text() == document(2)


def test_pool_create_update_read_delete(tmp_path: Path, pool: Path) -> None:
    provider = PoolProvider()
    assert mode(pool) == mode(pool / "leases") == 0o700
    assert (pool / "pool.json").read_text() == document(2)
    assert provider.update(str(pool), {}, {"content": document(3)}).outs == {"path": str(pool), "content": document(3)}
    assert provider.read(str(pool), {}).outs == {"path": str(pool), "content": document(3)}
    (pool / "jobs" / "one").mkdir(parents=True)
    provider.delete(str(pool), {})
    assert not (tmp_path / "pools").exists()


def test_pool_create_continues_after_an_interrupted_create(tmp_path: Path, pool: Path) -> None:
    create = {"path": str(pool), "content": document(1)}
    PoolProvider().create(create)
    (pool / "pool.json").rename(pool / "pool.json.new")
    PoolProvider().create(create)
    assert (pool / "pool.json").read_text() == document(1)


def test_pool_refuses_a_foreign_directory(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "thesis.tex").write_text("mine")
    with pytest.raises(Refused, match="did not make"):
        PoolProvider().create({"path": str(tmp_path / "p"), "content": document(1)})
    assert [entry.name for entry in (tmp_path / "p").iterdir()] == ["thesis.tex"]


def test_a_live_lease_protects_the_pool_and_its_nodes(pool: Path, job: subprocess.Popen[bytes]) -> None:
    lease(pool, job.pid, [1])
    message = rf"in use, nothing was changed. run r-1 \(pid {job.pid}\) uses node 1: .*`gpuyard cancel r-1`"
    with pytest.raises(Refused, match=message):
        PoolProvider().delete(str(pool), {})
    with pytest.raises(Refused, match=message):
        PoolProvider().update(str(pool), {}, {"content": document(1)})
    assert (pool / "pool.json").read_text() == document(2)
    PoolProvider().update(str(pool), {}, {"content": document(2, slots=4)})  # removes no node
    PoolProvider().update(str(pool), {}, {"content": document(3)})


def test_a_dead_lease_does_not_block(pool: Path, job: subprocess.Popen[bytes]) -> None:
    lease(pool, job.pid, [0, 1], started="another process with the same pid")
    PoolProvider().update(str(pool), {}, {"content": document(1)})
    lease(pool, job.pid, [0, 1])
    job.kill()
    while process_start(job.pid) is not None:  # then it is a zombie, because this test has not waited for it
        pass
    PoolProvider().delete(str(pool), {})
    assert not pool.exists()


@pytest.mark.parametrize(
    "content",
    ['{"pid": ', "{}", '{"run_id": "r-2", "pid": 1, "started": "", "nodes": [{}]}', '{"run_id": "r-2", "pid": 1e999}', "[" * 100_000],
)
def test_an_unreadable_lease_is_named(pool: Path, content: str) -> None:
    (pool / "leases" / "r-2.json").write_text(content)
    with pytest.raises(Refused, match=r"r-2.json: the lease cannot be read .*; remove the file if no job runs on this pool"):
        PoolProvider().delete(str(pool), {})


def test_update_waits_for_the_lock_and_gives_up_after_the_limit(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (pool / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        release = threading.Timer(0.2, lambda: fcntl.flock(held, fcntl.LOCK_UN))
        release.start()
        PoolProvider().update(str(pool), {}, {"content": document(3)})
        release.join()
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr(files, "_LOCK_WAIT_S", 0.05)
        with pytest.raises(Refused, match="pool is locked by another process"):
            PoolProvider().delete(str(pool), {})
    assert (pool / "pool.json").exists()


def test_targets_create_update_read_delete(tmp_path: Path, pool: Path) -> None:
    path, provider = tmp_path / "runs" / "gpuyard" / "targets.json", TargetsProvider()
    first, second = targets(pool), targets(pool, limits=None)
    assert provider.create({"path": str(path), "content": first}).outs == {"path": str(path), "content": first}
    provider.create({"path": str(path), "content": first})  # a second time, as after a crash
    assert provider.update(str(path), {"content": first}, {"content": second}).outs == {"path": str(path), "content": second}
    path.write_text("torn {")
    assert provider.read(str(path), {}).outs == {"path": str(path), "content": "torn {"}
    provider.update(str(path), {"content": "torn {"}, {"content": second})
    assert json.loads(path.read_text())["p"]["limits"] is None
    (path.parent / "runs").mkdir()
    provider.delete(str(path), {"content": second})
    assert [entry.name for entry in path.parent.iterdir()] == ["runs"]


def test_targets_of_another_stack_are_not_overwritten(tmp_path: Path, pool: Path) -> None:
    path = tmp_path / "targets.json"
    path.write_text(targets(pool, stack="other/prod"))
    with pytest.raises(Refused, match="the run bucket belongs to another stack, got other/prod; give this stack another bucket"):
        TargetsProvider().create({"path": str(path), "content": targets(pool)})


def test_targets_protect_pool_and_buckets_of_a_running_job(tmp_path: Path, pool: Path, job: subprocess.Popen[bytes]) -> None:
    """Pulumi deletes targets before buckets, and buckets do not know which jobs run."""
    path, provider, old = tmp_path / "targets.json", TargetsProvider(), targets(pool)
    provider.create({"path": str(path), "content": old})
    lease(pool, job.pid, [0])
    for new in (targets(pool, bucket="/elsewhere"), targets(tmp_path / "moved"), "{}"):
        with pytest.raises(Refused, match="run r-1"):
            provider.update(str(path), {"content": old}, {"content": new})
    with pytest.raises(Refused, match="run r-1"):
        provider.delete(str(path), {"content": old})
    assert path.read_text() == old
    provider.update(str(path), {"content": old}, {"content": targets(pool, limits=1)})
