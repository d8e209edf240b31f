"""The local service after a crash: what is recovered, charged and reported."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends.local.cgroup import kill_cgroup
from gpuyard.training_jobs.backends.local.process import is_alive, kill_marked, start_time
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Reason, State
from tests.helpers.local_pool import job, record_file, run_dir, starts
from tests.helpers.local_processes import Start, processes
from tests.helpers.runner_steps import wait_for_state
from tests.helpers.waiting import wait_for


def test_a_lost_node_is_an_infra_failure(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=1, env={"NAP": "60"})
    wait_for_state(runner, run, State.RUNNING)
    wait_for(lambda: starts(tmp_path, run))
    lease = json.loads((tmp_path / f"pool/leases/{run}.json").read_text())
    for pid in processes(tmp_path):
        if pid != lease["pid"]:
            os.kill(pid, signal.SIGKILL)
    status = runner.wait(run)
    assert (status.state, status.reason) == (State.FAILED, Reason.INFRA)


def test_wait_uses_the_infra_retries(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=1, env={"NAP": "60"}, retries={"infra": 1})

    def has_started(submission: int) -> bool:
        runner.status(run)  # a status call advances the queue
        return (submission, 0) in starts(tmp_path, run)

    for submission in range(2):
        wait_for(functools.partial(has_started, submission))
        os.kill(json.loads((tmp_path / f"pool/leases/{run}.json").read_text())["pid"], signal.SIGKILL)
        if submission == 0:
            assert wait_for_state(runner, run, State.STOPPED).reason is Reason.INFRA
            assert runner.submit(job(env={"NAP": "60"}, retries={"infra": 1}), None).status.attempt == 2
    status = runner.wait(run)
    assert (status.state, status.reason) == (State.FAILED, Reason.INFRA)
    assert [attempt.state for attempt in status.attempts] == [State.STOPPED, State.FAILED]


def test_a_supervisor_that_never_starts_fails_the_job_with_its_last_log_line(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such interpreter >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    status = runner.wait(runner.submit(job(), None).status.run_id)
    assert (status.state, status.reason) == (State.FAILED, Reason.INFRA)
    assert status.detail == "its supervisor exited 3 times before it could start a node: no such interpreter"


def test_a_job_of_a_recreated_pool_is_an_infra_failure(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(env={"NAP": "60"})
    wait_for_state(runner, run, State.RUNNING)
    lease = tmp_path / f"pool/leases/{run}.json"
    os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)
    kill_marked(lease)
    lease.unlink()
    (entry,) = tmp_path.glob("pool/jobs/*/job.json")
    kill_cgroup(json.loads(entry.read_text())["cgroup"], entry.parent.name)  # nobody knows of the job's group after this
    shutil.rmtree(tmp_path / "pool/jobs")
    assert runner.status(run).reason is Reason.INFRA
    assert runner.submit(job(env={"NAP": "0"}), None, retry=True).created  # a new submission, with another service id
    assert runner.submit(job(env={"NAP": "60"}), None, retry=True).status.attempt == 2


def test_time_after_a_crash_is_not_charged(runner: Runner, start: Start, tmp_path: Path) -> None:
    """The machine goes down, and hours later a user asks for the status."""
    run = start(env={"NAP": "60"}, retries={"infra": 1})
    wait_for_state(runner, run, State.RUNNING)
    kill_marked(tmp_path / f"pool/leases/{run}.json")
    (state,) = tmp_path.glob(f"pool/jobs/{run}.0-*/job.json")
    document = json.loads(state.read_text())
    state.write_text(json.dumps(document | {"started_at": document["started_at"] - 36000}))
    for log in state.parent.glob("node-*.log"):
        os.utime(log, (time.time() - 35990, time.time() - 35990))
    status = runner.status(run)
    assert status.state is State.STOPPED
    assert status.started_at is not None
    assert status.attempts[0].ended_at is not None
    assert 0 <= status.attempts[0].ended_at - status.started_at < 60


def test_metrics_of_wrong_types_do_not_hide_a_run(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start()
    runner.wait(run)
    folder = run_dir(tmp_path, run) / "output" / "attempt-1"
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text(json.dumps({"step": 3, "steps": 270.5, "metrics": {"loss": "high", "lr": 0.1, "mfu": 0.4}}))
    metrics = runner.runs()[0].metrics
    assert (metrics.step, metrics.steps, metrics.loss, metrics.mfu) == (3, None, None, 0.4)
    assert metrics.other == {"steps": 270.5, "loss": "high", "lr": 0.1}


def test_a_damaged_record_does_not_hide_other_runs(runner: Runner, start: Start, tmp_path: Path) -> None:
    good, bad = start("good"), start("bad")
    runner.wait(bad)
    record_file(tmp_path, bad).write_text("{}")
    messages: list[str] = []
    assert [status.run_id for status in runner.runs(messages.append)] == [good]
    assert bad in messages[0]
    record_file(tmp_path, bad).unlink()


def test_a_reused_pid_is_another_process() -> None:
    started = start_time(os.getpid())
    assert started is not None
    assert is_alive(os.getpid(), started)
    assert not is_alive(os.getpid(), started + "0")
    assert start_time(2**22 + 1) is None
