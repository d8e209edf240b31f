"""The head starts the next attempt of a stopped run, with nobody waiting for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpuyard.training_jobs.errors import AuthError, LostSightError
from gpuyard.training_jobs.head.agent import Head
from gpuyard.training_jobs.mailbox import Mailbox
from gpuyard.training_jobs.run_layout import attempt_path, output_path
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.store import open_store
from tests.helpers.crash_at_line import crash_at
from tests.helpers.local_pool import job
from tests.helpers.slurm_pool import make_target
from tests.unit.training_jobs.head.test_agent import FakeSlurm

FILES = (
    "training_jobs/head/agent.py",
    "training_jobs/mailbox.py",
    "training_jobs/lifecycle/handle.py",
    "training_jobs/lifecycle/polling.py",
)


class Cluster:
    """A queue with a head, a runner, and a clock that tests set."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.target = make_target(folder)
        self.store, self.slurm, self.now = open_store(self.target.run_bucket), FakeSlurm(), 1000.0
        self.runner = Runner({self.target.pool: self.target}, clock=lambda: self.now, elapsed=lambda: self.now)
        self.said: list[str] = []
        self.head = self.new_head()

    def new_head(self) -> Head:
        head = Head(
            Mailbox(self.store, "dgx"),
            self.slurm,
            clock=lambda: self.now,
            say=lambda text: self.said.append(text),
            advance=self.runner.advance,
        )
        head.take_over()
        return head

    def submit(self) -> str:
        """Submit a job that may be preempted once, and let it start."""
        run = self.runner.submit(job(retries={"preempted": 1}), None, key="nightly").status.run_id
        self.head.turn()
        return run

    def stop(self, run: str, attempt: int) -> None:
        """End the newest job as a preempted one."""
        self.store.create(attempt_path(run, attempt), json.dumps({"attempt": attempt, "submission": attempt - 1}).encode())
        self.store.create(f"{output_path(run, attempt)}/node-0.json", json.dumps({"exit_code": 75}).encode())
        self.slurm.become("FAILED", at=self.now)


def test_a_preempted_run_goes_on_until_its_retries_are_used(tmp_path: Path) -> None:
    yard = Cluster(tmp_path)
    run = yard.submit()
    yard.stop(run, 1)
    yard.head.turn()
    yard.head.turn()
    assert [name.rpartition(".")[2].partition("-")[0] for name in yard.slurm.submitted] == ["0", "1"]
    yard.stop(run, 2)
    yard.head.turn()
    yard.head.turn()
    status = yard.runner.status(run)
    assert (status.state, status.reason, status.attempt, len(yard.slurm.submitted)) == (State.STOPPED, Reason.PREEMPTED, 2, 2)
    assert Mailbox(yard.store, "dgx").open_jobs() == ([], set())


def test_a_head_that_dies_at_any_line_starts_the_next_attempt_once(tmp_path: Path) -> None:
    line = 0
    while True:
        line += 1
        yard = Cluster(tmp_path / str(line))
        run = yard.submit()
        yard.stop(run, 1)
        crash = crash_at(line, yard.head.turn, FILES)
        yard.now += 60  # a submit that did not finish may be taken over
        yard.head = yard.new_head()
        for _ in range(3):
            yard.head.turn()
        assert len(yard.slurm.submitted) == 2, crash.died_at
        if crash.died_at is None:
            break
    assert line > 40


def test_the_queue_timeout_ends_a_job_that_nobody_waits_for(tmp_path: Path) -> None:
    yard = Cluster(tmp_path)
    run = yard.runner.submit(job(queue_timeout="10m"), None, key="nightly").status.run_id
    for _ in range(2):
        yard.head.turn()
    yard.now += 601
    yard.head.turn()
    yard.head.turn()
    assert yard.slurm.cancelled
    yard.slurm.become("CANCELLED")
    yard.head.turn()
    status = yard.runner.status(run)
    assert (status.state, status.reason) == (State.FAILED, Reason.CAPACITY)


def test_a_run_that_cannot_be_read_does_not_hold_up_the_queue(tmp_path: Path) -> None:
    yard = Cluster(tmp_path)
    run = yard.submit()

    def refuse(_: str) -> None:
        raise AuthError("no right to gpuyard/submissions/")

    yard.head.advance = refuse
    yard.stop(run, 1)
    yard.head.turn()
    assert yard.said[-1] == f"run {run}: its next attempt cannot be started: no right to gpuyard/submissions/"
    assert Mailbox(yard.store, "dgx").open_jobs() == ([], set())


def test_a_ticket_stays_open_while_the_bucket_does_not_answer(tmp_path: Path) -> None:
    yard = Cluster(tmp_path)
    run, working = yard.submit(), yard.head.advance

    def lose(_: str) -> None:
        raise LostSightError("the bucket does not answer")

    yard.head.advance = lose
    yard.stop(run, 1)
    for _ in range(2):
        with pytest.raises(LostSightError):
            yard.head.turn()
    yard.head.advance = working
    yard.head.turn()
    yard.head.turn()
    assert len(yard.slurm.submitted) == 2
