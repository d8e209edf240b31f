"""kill -9 of submitters and supervisors at seeded moments: nothing runs twice, nothing is lost, no process remains."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends import local
from gpuyard.training_jobs.backends.local import spawn
from gpuyard.training_jobs.backends.local.process import marked_pids
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Reason, State
from tests.helpers.local_pool import NODE_PROGRAM, job, make_target, run_dir, starts, target_document
from tests.helpers.waiting import WAIT_LIMIT_S, wait_for

# One submit in its own process, as in a pipeline. `moment`: the point at which it is killed.
_SUBMIT = """
import json, os, signal, sys
from pathlib import Path
from gpuyard.training_jobs.backends import local
from gpuyard.training_jobs.backends.local import spawn
from gpuyard.training_jobs.lifecycle.journal import Journal
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import parse_job
from gpuyard.training_jobs.target import parse_target
folder, moment, keys = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
spawn._SUPERVISOR = "tests.helpers.local_supervisor"
local.GRACE_S = 1
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
if moment == "before the record": Journal.create = die
if moment == "before the call": local.LocalBackend.submit = die
if moment == "after the call":
    submit = local.LocalBackend.submit
    def then_die(self, run): submit(self, run); die()
    local.LocalBackend.submit = then_die
target = parse_target(json.loads((folder / "target.json").read_text()))
submitted = Runner({"local": target}).submit(parse_job(keys), None, key="nightly")
print(json.dumps({"run": submitted.status.run_id, "created": submitted.created, "note": submitted.note}))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    make_target(tmp_path)
    (tmp_path / "target.json").write_text(json.dumps(target_document(tmp_path)))
    (tmp_path / "node_program.py").write_text(NODE_PROGRAM)
    monkeypatch.setattr(spawn, "_SUPERVISOR", "tests.helpers.local_supervisor")
    monkeypatch.setattr(local, "GRACE_S", 1)
    yield tmp_path
    watcher = runner(tmp_path)
    for status in watcher.runs():
        watcher.cancel(status.run_id)


def runner(folder: Path) -> Runner:
    from gpuyard.training_jobs.target import parse_target

    return Runner({"local": parse_target(target_document(folder))})


def submit(folder: Path, moment: str = "", **keys: object) -> subprocess.Popen[str]:
    document = {"name": "job", "command": ["train.py"], "preflight": "skip", **keys}
    arguments = [sys.executable, "-c", _SUBMIT, str(folder), moment, json.dumps(document)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> dict[str, object]:
    out, _ = process.communicate(timeout=WAIT_LIMIT_S)
    assert process.returncode == 0, out
    found: dict[str, object] = json.loads(out)
    return found


def age_records(folder: Path, seconds: float) -> None:
    """Make the newest submission of every record older, instead of waiting."""
    for path in (folder / "bucket/gpuyard/submissions").glob("*/run.json"):
        record = json.loads(path.read_text())
        record["submissions"][-1]["written_at"] -= seconds
        beside = path.with_name(".tmp-aged")
        beside.write_text(json.dumps(record))
        beside.rename(path)


def check_nothing_remains(folder: Path, run: str) -> None:
    lease = folder / "pool/leases" / f"{run}.json"
    wait_for(lambda: not marked_pids(lease), limit_s=5)  # a supervisor that has recorded the end still has to exit
    assert not lease.exists()
    assert os.listdir(folder / "pool/queue") == []
    assert runner(folder).capacity()["local"].free == 2


def test_twenty_submits_at_the_same_instant_start_one_job(folder: Path) -> None:
    answers = [answer(process) for process in [submit(folder, nodes=2) for _ in range(20)]]
    assert [a["created"] for a in answers].count(True) == 1
    assert len({a["run"] for a in answers}) == 1
    run = str(answers[0]["run"])
    assert runner(folder).wait(run).state is State.SUCCEEDED
    assert sorted(starts(folder, run)) == [(0, 0), (0, 1)]
    check_nothing_remains(folder, run)


@pytest.mark.parametrize(("moment", "created"), [("before the record", True), ("before the call", True), ("after the call", False)])
def test_a_killed_submit_is_completed_by_the_next_one(folder: Path, moment: str, created: bool) -> None:
    killed = submit(folder, moment)
    assert killed.wait(timeout=WAIT_LIMIT_S) == -signal.SIGKILL
    killed.communicate()
    age_records(folder, 61)
    found = answer(submit(folder))
    assert found["created"] is created
    run = str(found["run"])
    assert runner(folder).wait(run).state is State.SUCCEEDED
    assert starts(folder, run) == [(0, 0)]
    check_nothing_remains(folder, run)


def test_a_record_younger_than_a_minute_belongs_to_its_writer(folder: Path) -> None:
    submit(folder, "before the call").communicate(timeout=WAIT_LIMIT_S)
    waiting = submit(folder)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=1.5)
    age_records(folder, 61)
    assert answer(waiting)["created"] is True


def test_a_wait_completes_the_submit_of_a_killed_process(folder: Path) -> None:
    submit(folder, "before the call").communicate(timeout=WAIT_LIMIT_S)
    age_records(folder, 61)
    watcher = runner(folder)
    (run,) = (folder / "bucket/gpuyard/submissions").iterdir()
    assert watcher.wait(run.name).state is State.SUCCEEDED
    assert starts(folder, run.name) == [(0, 0)]


def kill_the_supervisor(folder: Path, seed: int) -> None:
    """Submit, kill the supervisor after a seeded delay, recover with a status call, and check what remains."""
    chance = random.Random(seed)  # noqa: S311 - a moment, not a secret
    watcher = runner(folder)
    spec = job(f"job-{seed}", nodes=2, env={"NAP": "0.3", "CHILD": "1"})
    run = watcher.submit(spec, None).status.run_id
    time.sleep(chance.uniform(0, 1.2))
    lease = folder / "pool/leases" / f"{run}.json"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it had exited already
        os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)
    status = watcher.wait(run)
    started = starts(folder, run)
    assert len(started) == len(set(started)), f"a node started twice: {started}"
    assert (status.state, status.reason) in {(State.SUCCEEDED, None), (State.FAILED, Reason.INFRA)}
    if status.state is State.SUCCEEDED:
        assert sorted(started) == [(0, 0), (0, 1)]
    check_nothing_remains(folder, run)


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_supervisor_leaves_nothing(folder: Path, seed: int) -> None:
    kill_the_supervisor(folder, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_killed_supervisors_leave_nothing(folder: Path) -> None:
    for seed in range(100, 400):
        kill_the_supervisor(folder, seed)


def test_a_job_whose_supervisor_died_before_its_nodes_started_is_queued_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease exists, the supervisor is dead, and no node was started: the job is not lost and does not fail."""
    watcher = runner(folder)
    pool = folder / "pool"
    monkeypatch.setattr(sys, "executable", "/bin/false")  # a supervisor that exits at once
    run = watcher.submit(job(), None).status.run_id
    monkeypatch.undo()
    monkeypatch.setattr(spawn, "_SUPERVISOR", "tests.helpers.local_supervisor")
    assert watcher.wait(run).state is State.SUCCEEDED
    assert starts(folder, run) == [(0, 0)]
    assert json.loads(next((pool / "jobs").glob(f"{run}.0-*/job.json")).read_text())["state"] == "SUCCEEDED"
    assert not run_dir(folder, run).joinpath("attempts").exists()  # this node program claims no attempt
