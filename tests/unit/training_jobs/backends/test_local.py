"""The local service: order, gang start, time limits, cancel, and nothing left alive."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_yard import NODE_PROGRAM, job, make_target, run_dir, starts
from training_jobs.backends import local
from training_jobs.backends.local.process import is_alive, marked, start_of, sweep
from training_jobs.runner import Runner
from training_jobs.state import Reason, State
from training_jobs.status import RunStatus

Start = Callable[..., str]


@pytest.fixture(autouse=True)
def node_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "node_program.py"
    program.write_text(NODE_PROGRAM)
    monkeypatch.setattr(local, "_BOOTSTRAP", program)
    monkeypatch.setattr(local, "GRACE_S", 1)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner({"local": make_target(tmp_path)})
    yield runner
    for status in runner.runs():
        runner.cancel(status.run_id)
    assert left(tmp_path) == []


@pytest.fixture
def start(runner: Runner) -> Start:
    def submit(name: str = "job", **keys: Any) -> str:
        return runner.submit(job(name, **keys), None).status.run_id

    return submit


def processes(folder: Path) -> list[int]:
    """Every live process of any run of the pool."""
    pool = folder / "pool"
    runs = [path.name.rpartition(".")[0] for path in (pool / "jobs").glob("*")]
    return [pid for run in runs for pid in marked(pool / "leases" / f"{run}.json")]


def left(folder: Path) -> list[int]:
    """What is still there after a moment: a supervisor that has recorded the end still has to exit."""
    deadline = time.monotonic() + 5
    while processes(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    return processes(folder)


def until(runner: Runner, run: str, *states: State) -> RunStatus:
    deadline = time.monotonic() + 20
    while (status := runner.status(run)).state not in states:
        assert time.monotonic() < deadline, f"still {status.state} ({status.detail})"
        time.sleep(0.02)
    return status


def test_a_job_runs_on_its_nodes_and_leaves_nothing(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=2)
    status = runner.wait(run)
    assert (status.state, status.reason, status.exit_code) == (State.SUCCEEDED, None, 0)
    assert sorted(starts(tmp_path, run)) == [(0, 0), (0, 1)]
    lines = list(runner.logs(run))
    assert sorted((line.node, line.text) for line in lines) == [(0, "node 0 runs"), (1, "node 1 runs")]
    assert [line.text for line in runner.logs(run, node=1)] == ["node 1 runs"]
    assert list(runner.logs(run, since=time.time() + 1)) == []
    assert left(tmp_path) == []
    assert os.listdir(tmp_path / "pool/leases") == os.listdir(tmp_path / "pool/queue") == []


def test_jobs_that_need_all_nodes_run_one_after_another_in_order(runner: Runner, start: Start, tmp_path: Path) -> None:
    runs = [start(f"job-{i}", nodes=2, env={"NAP": "0.3"}) for i in range(3)]
    statuses = [runner.wait(run) for run in runs]
    assert all(status.state is State.SUCCEEDED for status in statuses)
    for earlier, later in itertools.pairwise(statuses):
        assert earlier.ended_at is not None
        assert later.started_at is not None
        assert later.started_at >= earlier.ended_at


def test_nothing_overtakes_a_job_that_waits_for_more_nodes(runner: Runner, start: Start) -> None:
    small = start("small", nodes=1, env={"NAP": "1.0"})
    until(runner, small, State.RUNNING)
    big = start("big", nodes=2)
    late = start("late", nodes=1)
    assert runner.status(late).state is State.PENDING  # one node is free, but it came later
    assert "waiting" in (runner.status(late).detail or "")
    big_status, late_status = runner.wait(big), runner.wait(late)
    assert late_status.started_at is not None
    assert big_status.started_at is not None
    assert late_status.started_at >= big_status.started_at


def test_two_small_jobs_share_the_pool(runner: Runner, start: Start, tmp_path: Path) -> None:
    runs = [start(f"job-{i}", nodes=1, env={"NAP": "1"}) for i in range(2)]
    for run in runs:
        until(runner, run, State.RUNNING)
    held = [json.loads((tmp_path / f"pool/leases/{run}.json").read_text()) for run in runs]
    assert sorted(lease["nodes"] for lease in held) == [[0], [1]]
    assert all(is_alive(lease["pid"], lease["started"]) for lease in held)


def test_a_cancelled_waiting_job_never_starts(runner: Runner, start: Start, tmp_path: Path) -> None:
    first = start("first", nodes=2, env={"NAP": "0.5"})
    waiting = start("waiting", nodes=2)
    last = start("last", nodes=2)
    assert runner.cancel(waiting).state is State.CANCELLED
    assert runner.wait(last).state is State.SUCCEEDED
    assert runner.wait(first).state is State.SUCCEEDED
    assert runner.status(waiting).state is State.CANCELLED
    assert starts(tmp_path, waiting) == []


def test_cancel_ends_the_deaf_and_their_children(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=2, env={"DEAF": "1", "CHILD": "1", "NAP": "60"})
    until(runner, run, State.RUNNING)
    deadline = time.monotonic() + 10
    while len(processes(tmp_path)) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(processes(tmp_path)) == 5  # supervisor, two nodes, two children of theirs
    status = runner.cancel(run)
    assert (status.state, status.reason) == (State.CANCELLED, None)
    assert left(tmp_path) == []
    assert runner.cancel(run).state is State.CANCELLED  # again changes nothing


def test_the_time_limit_ends_a_job(runner: Runner, start: Start, tmp_path: Path) -> None:
    status = runner.wait(start(timeout="1s", env={"NAP": "60"}))
    assert (status.state, status.reason) == (State.FAILED, Reason.TIMEOUT)
    assert "timeout after 1 s" in (status.detail or "")
    assert left(tmp_path) == []


def test_queue_timeout_is_a_lack_of_capacity(runner: Runner, start: Start, tmp_path: Path) -> None:
    start("first", nodes=2, env={"NAP": "60"})
    impatient = start("impatient", nodes=1, queue_timeout="1s")
    status = runner.wait(impatient)
    assert (status.state, status.reason) == (State.FAILED, Reason.CAPACITY)
    assert starts(tmp_path, impatient) == []


@pytest.mark.parametrize(("codes", "exit_code"), [({"CODE_0": "7"}, 7), ({"CODE_1": "9", "NAP_0": "60"}, 9)])
def test_a_failing_node_ends_the_job_with_its_own_code(
    runner: Runner, start: Start, monkeypatch: pytest.MonkeyPatch, codes: dict[str, str], exit_code: int
) -> None:
    run = start(nodes=2, env=codes)
    begun = time.monotonic()
    status = runner.wait(run)
    assert (status.state, status.reason, status.exit_code) == (State.FAILED, Reason.USER_ERROR, exit_code)
    assert time.monotonic() - begun < 25  # the peer's patience, not the nap


def test_a_lost_node_is_infra(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=1, env={"NAP": "60"})
    until(runner, run, State.RUNNING)
    deadline = time.monotonic() + 10
    while not starts(tmp_path, run) and time.monotonic() < deadline:
        time.sleep(0.02)
    lease = json.loads((tmp_path / f"pool/leases/{run}.json").read_text())
    for pid in processes(tmp_path):
        if pid != lease["pid"]:
            os.kill(pid, signal.SIGKILL)
    status = runner.wait(run)
    assert (status.state, status.reason) == (State.FAILED, Reason.INFRA)


def test_the_infra_allowance_is_spent_by_wait(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=1, env={"NAP": "60"}, retries={"infra": 1})
    for submission in range(2):
        deadline = time.monotonic() + 20
        while (submission, 0) not in starts(tmp_path, run):
            assert time.monotonic() < deadline
            time.sleep(0.02)
            runner.status(run)
        os.kill(json.loads((tmp_path / f"pool/leases/{run}.json").read_text())["pid"], signal.SIGKILL)
        if submission == 0:
            assert until(runner, run, State.STOPPED).reason is Reason.INFRA
            assert runner.submit(job(env={"NAP": "60"}, retries={"infra": 1}), None).status.attempt == 2
    status = runner.wait(run)
    assert (status.state, status.reason) == (State.FAILED, Reason.INFRA)
    assert [attempt.state for attempt in status.attempts] == [State.STOPPED, State.FAILED]


def test_a_job_does_not_see_the_submitters_variables(runner: Runner, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    run = start(env={"NAP": "30"})
    until(runner, run, State.RUNNING)
    lease = json.loads((Path(runner.runs()[0].checkpoint_url[7:]).parents[4] / f"pool/leases/{run}.json").read_text())
    assert b"AWS_SECRET" not in Path(f"/proc/{lease['pid']}/environ").read_bytes()


def test_a_pool_that_became_too_small_is_a_lack_of_capacity(runner: Runner, start: Start, tmp_path: Path) -> None:
    start("first", nodes=2, env={"NAP": "1"})
    waiting = start("waiting", nodes=2)
    file = tmp_path / "pool/pool.json"
    document = json.loads(file.read_text())
    document["nodes"] = document["nodes"][:1]
    file.write_text(json.dumps(document))
    status = runner.wait(waiting)
    assert (status.state, status.reason) == (State.FAILED, Reason.CAPACITY)
    assert status.detail == "wants 2 nodes, the pool has 1 now"


def test_queue_timeout_also_counts_behind_a_job_that_waits(runner: Runner, start: Start) -> None:
    start("first", nodes=2, env={"NAP": "60"})
    start("second", nodes=2)
    impatient = start("impatient", nodes=1, queue_timeout="1s")
    status = runner.wait(impatient)
    assert (status.state, status.reason) == (State.FAILED, Reason.CAPACITY)


def test_a_supervisor_that_can_never_start_is_given_up_with_its_last_words(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such interpreter >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    status = runner.wait(runner.submit(job(), None).status.run_id)
    assert (status.state, status.reason) == (State.FAILED, Reason.INFRA)
    assert status.detail == "its supervisor died 3 times before it could start: no such interpreter"


def test_a_stopped_run_can_be_cancelled_for_good(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(env={"CODE": "75"}, retries={"preempted": 0})
    assert runner.wait(run).state is State.STOPPED
    assert runner.cancel(run).state is State.CANCELLED
    assert runner.submit(job(env={"CODE": "75"}, retries={"preempted": 0}), None).created is False
    assert starts(tmp_path, run) == [(0, 0)]


def test_a_job_of_a_pool_that_was_made_anew_is_lost_not_unknown(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(env={"NAP": "60"})
    until(runner, run, State.RUNNING)
    lease = tmp_path / f"pool/leases/{run}.json"
    os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)
    sweep(lease)
    lease.unlink()
    shutil.rmtree(tmp_path / "pool/jobs")
    assert runner.status(run).reason is Reason.INFRA
    assert runner.submit(job(env={"NAP": "0"}), None, retry=True).created  # another job now, under another id
    assert runner.submit(job(env={"NAP": "60"}), None, retry=True).status.attempt == 2


def test_time_that_nobody_watched_is_not_charged(runner: Runner, start: Start, tmp_path: Path) -> None:
    """The machine goes down; hours later somebody asks."""
    run = start(env={"NAP": "60"}, retries={"infra": 1})
    until(runner, run, State.RUNNING)
    sweep(tmp_path / f"pool/leases/{run}.json")
    state = tmp_path / f"pool/jobs/{run}.0/job.json"
    document = json.loads(state.read_text())
    state.write_text(json.dumps(document | {"started_at": document["started_at"] - 36000}))
    for log in state.parent.glob("node-*.log"):
        os.utime(log, (time.time() - 35990, time.time() - 35990))
    status = runner.status(run)
    assert status.state is State.STOPPED
    assert status.started_at is not None
    assert status.attempts[0].ended_at is not None
    assert 0 <= status.attempts[0].ended_at - status.started_at < 60


def test_what_a_script_reports_never_hides_its_run(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start()
    runner.wait(run)
    folder = run_dir(tmp_path, run) / "output" / "attempt-1"
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text(json.dumps({"step": 3, "steps": 270.5, "metrics": {"loss": "high", "lr": 0.1, "mfu": 0.4}}))
    metrics = runner.runs()[0].metrics
    assert (metrics.step, metrics.steps, metrics.loss, metrics.mfu) == (3, None, None, 0.4)
    assert metrics.other == {"steps": 270.5, "loss": "high", "lr": 0.1}


def test_a_damaged_record_hides_no_other_run(runner: Runner, start: Start, tmp_path: Path) -> None:
    good, bad = start("good"), start("bad")
    runner.wait(bad)
    (run_dir(tmp_path, bad) / "run.json").write_text("{}")
    said: list[str] = []
    assert [status.run_id for status in runner.runs(said.append)] == [good]
    assert bad in said[0]
    shutil.rmtree(run_dir(tmp_path, bad))


def test_a_process_number_used_again_is_another_process() -> None:
    started = start_of(os.getpid())
    assert started is not None
    assert is_alive(os.getpid(), started)
    assert not is_alive(os.getpid(), started + "0")
    assert start_of(2**22 + 1) is None
