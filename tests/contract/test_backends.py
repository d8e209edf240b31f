"""The contract of every backend: the behaviour that Runner relies on, on every service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends.base import Backend, Capacity
from gpuyard.training_jobs.errors import ConflictError
from gpuyard.training_jobs.run_layout import attempt_path
from gpuyard.training_jobs.state import Exit, Reason, State, exit_for
from gpuyard.training_jobs.store import open_store
from gpuyard.training_jobs.target import JobTarget
from tests.helpers.local_pool import job
from tests.helpers.service_pools import MAKERS, PROGRAM, Yard
from tests.helpers.waiting import wait_for


@pytest.fixture(params=MAKERS)
def yard(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    (tmp_path / "program.py").write_text(PROGRAM)
    with ExitStack() as stack:
        found = MAKERS[request.param](tmp_path, monkeypatch, stack)
        yield found
        for status in found.runner.runs():
            found.runner.cancel(status.run_id)
        for status in found.runner.runs():
            found.runner.wait(status.run_id)


def test_a_job_runs_on_all_its_nodes(yard: Yard) -> None:
    run = yard.start(nodes=2)
    status = yard.runner.wait(run)
    assert (status.state, status.reason, status.exit_code, status.attempt) == (State.SUCCEEDED, None, 0, 1)
    assert (yard.starts(run, 0), yard.starts(run, 1)) == (1, 1)
    tick = 1.0 if yard.target.kind == "slurm" else 0.01  # Slurm's times are whole seconds, rounded down
    assert status.submitted_at <= (status.started_at or 0) + tick <= (status.ended_at or 0) + 2 * tick
    assert (status.service.kind, status.service.id is not None) == (yard.target.kind, True)


def test_the_same_submit_starts_one_job(yard: Yard) -> None:
    spec = job(env={"ORDERS": "1:0"})
    first, second = (yard.runner.submit(spec, None, key="nightly") for _ in range(2))
    assert (first.created, second.created) == (True, False)
    assert first.status.service.id == second.status.service.id
    with pytest.raises(ConflictError):
        yard.runner.submit(job(env={"ORDERS": "2:0"}), None, key="nightly")
    assert yard.runner.wait(first.status.run_id).state is State.SUCCEEDED
    claim = attempt_path(first.status.run_id, 1)  # launch claims it on a node; a yard's own program does not
    open_store(yard.target.run_bucket).create(claim, b"{}")
    assert yard.runner.submit(spec, None, key="nightly").created is False
    assert yard.starts(first.status.run_id) == 1


def test_a_submission_is_found_after_a_crash_before_its_id_was_stored(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job was created, and its id was never stored."""
    real = yard.backend_for

    class Dead(Exception):  # noqa: N818 - the process, not an error
        pass

    def dying(target: JobTarget) -> Backend:
        backend = real(target)
        submit = backend.submit

        def submit_and_die(run: Any) -> str:
            submit(run)
            raise Dead

        monkeypatch.setattr(backend, "submit", submit_and_die)
        return backend

    yard.backend_for = dying
    with pytest.raises(Dead):
        yard.start("1:0", key="nightly")
    yard.backend_for = real
    yard.now = 61
    submitted = yard.runner.submit(job(env={"ORDERS": "1:0"}), None, key="nightly")
    assert submitted.created is False
    assert yard.runner.wait(submitted.status.run_id).state is State.SUCCEEDED
    assert yard.starts(submitted.status.run_id) == 1


def test_an_older_job_of_the_same_run_is_never_taken_for_a_new_submission(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record was removed, or the run bucket was renamed: the run id is the same, and nothing has run for the new record."""
    first = yard.runner.submit(job(env={"ORDERS": "0:0"}), None, key="nightly")
    assert yard.runner.wait(first.status.run_id).state is State.SUCCEEDED
    yard.target = yard.target.model_copy(update={"run_bucket": f"{yard.target.run_bucket}/renamed"})
    yard.prepare_bucket()
    second = yard.runner.submit(job(env={"ORDERS": "0:0"}), None, key="nightly")
    assert (second.created, second.status.run_id) == (True, first.status.run_id)
    assert second.status.service.id != first.status.service.id
    assert yard.runner.wait(second.status.run_id).state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("code", "state", "reason", "exit_code"),
    [
        (7, State.FAILED, Reason.USER_ERROR, Exit.FAILED),
        (64, State.FAILED, Reason.USER_ERROR, Exit.FAILED),
        (69, State.FAILED, Reason.FABRIC, Exit.FABRIC),
        (75, State.STOPPED, Reason.PREEMPTED, Exit.STOPPED),
    ],
)
def test_a_nodes_exit_code_is_reported_and_classified(yard: Yard, code: int, state: State, reason: Reason, exit_code: Exit) -> None:
    status = yard.runner.wait(yard.start(f"0:{code}", retries={"preempted": 0}))
    assert (status.state, status.reason, status.exit_code) == (state, reason, code)
    assert exit_for(status.state, status.reason) is exit_code


@pytest.mark.parametrize(("code", "reason"), [(75, "preempted"), (74, "infra")])
def test_a_job_that_may_be_retried_continues_until_it_is_done(yard: Yard, code: int, reason: str) -> None:
    run = yard.start(f"0:{code},0:0", retries={"preempted": 0, reason: 1})
    status = yard.runner.wait(run)
    assert (status.state, status.exit_code) == (State.SUCCEEDED, 0)
    assert yard.starts(run) == 2


def test_the_allowance_for_preemptions_is_respected(yard: Yard) -> None:
    run = yard.start("0:75", retries={"preempted": 1})
    status = yard.runner.wait(run)
    assert (status.state, status.reason) == (State.STOPPED, Reason.PREEMPTED)
    assert yard.starts(run) == 2


def test_a_stopped_run_is_resumed_by_the_next_submit(yard: Yard) -> None:
    keys: dict[str, Any] = {"env": {"ORDERS": "0:75,0:0"}, "retries": {"preempted": 0}}
    run = yard.runner.submit(job(**keys), None).status.run_id
    assert yard.runner.wait(run).state is State.STOPPED
    again = yard.runner.submit(job(**keys), None)
    assert (again.created, again.status.run_id, again.status.attempt) == (True, run, 2)
    status = yard.runner.wait(run)
    assert [attempt.state for attempt in status.attempts] == [State.STOPPED, State.SUCCEEDED]
    assert yard.starts(run) == 2


def test_a_failed_job_is_retried_only_on_request(yard: Yard) -> None:
    run = yard.start("0:3,0:0")
    assert yard.runner.wait(run).state is State.FAILED
    assert yard.runner.submit(job(env={"ORDERS": "0:3,0:0"}), None).created is False
    assert yard.runner.submit(job(env={"ORDERS": "0:3,0:0"}), None, retry=True).created is True
    assert yard.runner.wait(run).state is State.SUCCEEDED
    assert yard.starts(run) == 2


def test_the_time_limit_ends_a_job(yard: Yard) -> None:
    status = yard.runner.wait(yard.start("120:0", timeout=yard.short))
    assert (status.state, status.reason) == (State.FAILED, Reason.TIMEOUT)
    assert exit_for(status.state, status.reason) is Exit.TIMEOUT


def test_missing_machines_are_a_capacity_failure(yard: Yard) -> None:
    run = yard.start(**yard.remove_machines())
    status = yard.runner.wait(run)
    assert (status.state, status.reason) == (State.FAILED, Reason.CAPACITY)
    assert exit_for(status.state, status.reason) is Exit.CAPACITY
    assert yard.starts(run) == 0


def test_a_running_job_is_cancelled_once(yard: Yard) -> None:
    run = yard.start("120:0", nodes=2)
    yard.until_started(run, 2)
    assert yard.wait_for_state(run, State.RUNNING).ended_at is None
    yard.runner.cancel(run)
    status = yard.runner.wait(run)
    assert (status.state, status.reason) == (State.CANCELLED, None)
    assert yard.runner.cancel(run).state is State.CANCELLED
    assert yard.runner.submit(job(nodes=2, env={"ORDERS": "120:0"}), None).created is False


def test_a_waiting_job_is_cancelled_before_it_starts(yard: Yard) -> None:
    first = yard.start("120:0", name="first", nodes=2)
    yard.wait_for_state(first, State.RUNNING)
    waiting = yard.start(name="waiting", nodes=2)
    assert yard.wait_for_state(waiting, State.PENDING).started_at is None
    started = yard.runner._runs.find(first)
    with pytest.raises(ConflictError, match="belongs to another run"):  # a record that names another run's job
        started.backend.cancel(started.job_id or "", yard.runner._runs.find(waiting)._run())
    yard.runner.cancel(waiting)
    assert yard.runner.wait(waiting).state is State.CANCELLED
    yard.runner.cancel(first)
    yard.runner.wait(first)
    assert yard.starts(waiting) == 0


def test_an_ended_run_does_not_change(yard: Yard) -> None:
    run = yard.start()
    assert yard.runner.wait(run).state is State.SUCCEEDED
    assert yard.runner.cancel(run).state is State.SUCCEEDED


def test_logs_can_be_limited_to_one_node_and_to_a_start_time(yard: Yard) -> None:
    run = yard.start("0.5:0", nodes=2)
    yard.runner.wait(run)
    lines = list(yard.runner.logs(run))
    assert sorted((line.node, line.text) for line in lines) == [
        (node, f"node {node} {word}") for node in (0, 1) for word in ("ends", "runs")
    ]
    assert [line.time for line in lines] == sorted(line.time for line in lines)
    assert [line.text for line in yard.runner.logs(run, node=1)] == ["node 1 runs", "node 1 ends"]
    middle = (lines[0].time + lines[-1].time) / 2
    assert {line.text for line in yard.runner.logs(run, since=middle)} <= {"node 0 ends", "node 1 ends", "node 1 runs", "node 0 runs"}
    assert len(list(yard.runner.logs(run, since=middle))) < len(lines)
    assert list(yard.runner.logs(run, since=time.time() + 60)) == []


def test_logs_are_followed_to_the_end(yard: Yard) -> None:
    run = yard.start("released:0")
    lines = yard.runner.logs(run, follow=True)
    assert next(lines).text == "node 0 runs"  # line by line: the node ends only after the test allows it
    yard.release(run)
    assert [line.text for line in lines] == ["node 0 ends"]


def test_the_pool_reports_free_capacity(yard: Yard) -> None:
    pool = yard.target.pool
    assert (yard.runner.capacity()[pool].nodes, yard.runner.capacity()[pool].free) == (2, 2)
    run = yard.start("120:0", nodes=2)
    yard.wait_for_state(run, State.RUNNING)
    waiting = yard.start(name="waiting")
    yard.wait_for_state(waiting, State.PENDING)
    # SageMaker does not report free machines, Azure ML does not report the queue.
    reported = {"sagemaker": (2, 2, 0), "azureml": (2, 0, 0)}.get(yard.target.kind, (2, 0, 1))
    # A service may list a job as starting for a while after its nodes have started.
    wait_for(lambda: yard.runner.capacity()[pool] == Capacity(*reported), lambda: yard.runner.capacity()[pool], limit_s=20)
