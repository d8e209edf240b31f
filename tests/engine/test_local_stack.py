"""The stack `local` with the real engine, as a user runs it: commands in, files and state out."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gpuyard.components.local.leases import process_start
from gpuyard.training_jobs.target import LocalTarget, parse_targets
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.engine
UP = ("up", "--yes", "--skip-preview")
DOWN = ("destroy", "--yes", "--skip-preview")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_life_of_a_yard(project: Any) -> None:
    before = project.stack_file.read_text()
    project.pulumi("stack", "init", "local")
    assert project.stack_file.read_text() == before, "stack init changed the file: the committed salt must keep a clone clean"
    assert project.json("config")["gpuyard:pools"]["objectValue"] == {"local": {"max_nodes": 2, "service": "local"}}

    plan = project.json("preview")
    assert plan["changeSummary"] == {"create": 8}
    assert not project.yard.exists(), "a preview changes nothing"

    project.pulumi(*UP)
    pool, runs = project.yard / "pools" / "local", project.yard / "buckets" / "runs"
    assert files(project.yard) == [
        "buckets",
        "buckets/runs",
        "buckets/runs/gpuyard",
        "buckets/runs/gpuyard/targets.json",
        "pools",
        "pools/local",
        "pools/local/leases",
        "pools/local/lock",
        "pools/local/pool.json",
    ]
    assert stat.S_IMODE(runs.stat().st_mode) == stat.S_IMODE(pool.stat().st_mode) == 0o700
    outputs = project.json("stack", "output", below="stacks")
    written = json.loads((runs / "gpuyard" / "targets.json").read_text())
    assert outputs["job_targets"] == written
    target = parse_targets(outputs["job_targets"], "the export")["local"]
    assert isinstance(target, LocalTarget)
    assert (target.stack, target.pool_dir, target.run_bucket) == ("gpuyard/local", str(pool), f"file://{runs}")
    assert json.loads((pool / "pool.json").read_text())["nodes"][1]["address"] in {"127.77.0.11", "127.0.0.1"}

    assert "unchanged" in project.pulumi("up", "--yes", "--expect-no-changes", "--skip-preview", below="stacks")

    shutil.rmtree(runs / "gpuyard")
    runs.chmod(0o755)
    (pool / "pool.json").write_text("{}")
    assert "1 deleted" in project.pulumi("refresh", "--yes", "--skip-preview")
    drift = project.json("preview")
    assert drift["changeSummary"] == {"create": 1, "same": 5, "update": 2}
    project.pulumi(*UP)
    assert json.loads((runs / "gpuyard" / "targets.json").read_text()) == written
    assert stat.S_IMODE(runs.stat().st_mode) == 0o700
    assert len(json.loads((pool / "pool.json").read_text())["nodes"]) == 2

    (runs / "gpuyard" / "code").mkdir()
    project.pulumi(*DOWN, below="stacks")
    assert not project.yard.exists(), files(project.yard)
    assert "resources" not in json.loads(project.pulumi("stack", "export"))["deployment"]


def test_a_running_job_keeps_its_yard_and_kept_data_survives(project: Any) -> None:
    project.change("on_destroy: delete", "on_destroy: keep")
    project.pulumi("stack", "init", "local")
    project.pulumi(*UP)
    pool, runs = project.yard / "pools" / "local", project.yard / "buckets" / "runs"
    job = subprocess.Popen(["sleep", "300"])
    try:
        lease = {"version": 1, "run_id": "gpt-1", "pid": job.pid, "started": process_start(job.pid), "nodes": [0, 1]}
        (pool / "leases" / "gpt-1.json").write_text(json.dumps(lease))
        before = {path: (project.yard / path).stat().st_mtime_ns for path in files(project.yard)}

        told = project.pulumi(*DOWN, ok=False)
        assert f"run gpt-1 (pid {job.pid}) uses nodes 0, 1" in told
        assert "gpuyard cancel gpt-1" in told
        assert "Traceback" not in told
        project.change("max_nodes: 2", "max_nodes: 1")
        told = project.pulumi(*UP, ok=False)
        assert f"run gpt-1 (pid {job.pid})" in told
        assert "Traceback" not in told
        after = {path: (project.yard / path).stat().st_mtime_ns for path in files(project.yard)}
        assert after == before
    finally:
        job.kill()
        job.wait()
    (runs / "results").write_text("mine")
    project.pulumi(*DOWN)
    assert files(project.yard) == ["buckets", "buckets/runs", "buckets/runs/results"]
    told = project.pulumi(*UP, ok=False)
    assert "has files that this stack did not make (results)" in told
    assert f"`existing: {runs}`" in told
    assert (runs / "results").read_text() == "mine"


def test_a_bucket_renamed_with_an_alias_keeps_its_data(project: Any) -> None:
    program = project.root / "stacks" / "__main__.py"
    program.write_text('from gpuyard.local import Bucket\nBucket("old", {"on_destroy": "delete"})\n')
    project.pulumi("stack", "init", "local")
    project.pulumi(*UP)
    data = project.yard / "buckets" / "old" / "data"
    data.write_text("kept")
    opts = 'pulumi.ResourceOptions(aliases=[pulumi.Alias(name="old")])'
    program.write_text(f'import pulumi\nfrom gpuyard.local import Bucket\nBucket("new", {{"on_destroy": "delete"}}, opts={opts})\n')
    project.pulumi(*UP)
    assert data.read_text() == "kept"
    assert project.json("preview")["changeSummary"].keys() == {"same"}
    project.pulumi(*DOWN)
    assert not data.exists(), "the renamed bucket still owns its directory"


def test_every_mistake_in_the_settings_is_reported_at_once(project: Any) -> None:
    project.pulumi("stack", "init", "local")
    project.change("{max_nodes: 2, service: local}", "{max_nods: 2, service: locl}\n  gpuyard:expires: 2027-03-31\n  gpuyard:cluod: local")
    told = project.pulumi("preview", ok=False)
    expected = [
        "gpuyard:pools.local.max_nodes: required",
        "did you mean 'max_nodes'?",
        "got 'locl'",
        "a quoted date",
        "did you mean 'cloud'?",
    ]
    for text in expected:
        assert text in told
    assert "Traceback" not in told
    assert not project.yard.exists()


def test_kill_9_in_the_middle_of_an_up(project: Any) -> None:
    project.pulumi("stack", "init", "local")
    pool = project.yard / "pools" / "local"
    pool.mkdir(parents=True)
    with (pool / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the pool's create waits here
        up = project.start(*UP, start_new_session=True)
        wait_for(lambda: (project.yard / "buckets" / "runs").exists() and len(processes_below(up.pid)) >= 3)
        time.sleep(0.5)  # into the wait for the lock
        children = processes_below(up.pid)
        up.send_signal(signal.SIGKILL)
        up.communicate()
        wait_for(lambda: not [child for child in children if alive(child)], limit_s=30)
    assert not (pool / "pool.json").exists()

    told = project.pulumi(*UP, ok=False)
    assert "lock" in told
    project.pulumi("cancel", "--yes")
    project.pulumi(*UP)
    assert (pool / "pool.json").exists()
    assert parse_targets(project.json("stack", "output", "job_targets"), "the export")
    project.pulumi(*DOWN)
    assert not project.yard.exists(), files(project.yard)


def processes_below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
