"""Runner.wait and the limits of a job, on a virtual clock with scripted faults of the service."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends.base import Capacity, LogLine, Request, ServiceStatus
from gpuyard.training_jobs.errors import AuthError, CapacityError, GpuyardError, LostSightError, QuotaError, UsageError
from gpuyard.training_jobs.lifecycle.polling import LOST_SIGHT_AFTER_S
from gpuyard.training_jobs.run import Run
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Exit, Reason, State, exit_for
from gpuyard.training_jobs.status import RunStatus
from gpuyard.training_jobs.store import ChangedError
from tests.helpers.local_pool import job, make_target

RUNNING, PENDING = ServiceStatus(State.RUNNING, started_at=0.0), ServiceStatus(State.PENDING)
DONE = ServiceStatus(State.SUCCEEDED, None, 0, 0.0, 1.0)
UNKNOWN = ServiceStatus(State.UNKNOWN, detail="Melting")


class Scripted:
    """A service with scripted answers: statuses to return and errors to raise. The last one is repeated."""

    poll_s = 5.0
    job_id = re.compile(r"[a-z0-9-]+\.[0-9]+-[0-9a-f]+")

    def __init__(self) -> None:
        self.answers: deque[ServiceStatus | GpuyardError] = deque([DONE])
        self.refusals: deque[GpuyardError] = deque()
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self.problem: GpuyardError | None = None
        self.caller: str | None = "alice@acme.io"

    def request(self, run: Run) -> list[Request]:
        if self.problem:
            raise self.problem
        return [Request("Start", {"name": run.name})]

    def principal(self) -> str | None:
        return self.caller

    def ready(self) -> None:
        pass

    def submit(self, run: Run) -> str:
        if self.refusals:
            raise self.refusals.popleft()
        self.submitted.append(run.name)
        return run.name

    def find(self, run: Run) -> str | None:
        return run.name if run.name in self.submitted else None

    def status(self, service_id: str) -> ServiceStatus:
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, GpuyardError):
            raise answer
        return answer

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        return iter(())

    def cancel(self, service_id: str, run: Run) -> None:
        self.cancelled.append(service_id)

    def capacity(self) -> Capacity:
        return Capacity(2, 2, 0)


class Yard:
    """A runner over a scripted service. Only sleeps advance its clock."""

    def __init__(self, folder: Path) -> None:
        self.service, self.now = Scripted(), 1_000_000.0
        self.pauses: list[float] = []
        self.target = make_target(folder, price={"usd_per_node_hour": 3600.0, "source": "a dollar a second"})
        self.runner = self.new_runner()

    def new_runner(self) -> Runner:
        """Return a runner as another process would have it."""
        return Runner(
            {"local": self.target}, backend_for=lambda _: self.service, clock=lambda: self.now, elapsed=lambda: self.now, sleep=self._sleep
        )

    def _sleep(self, pause: float) -> None:
        self.pauses.append(pause)
        self.now += pause

    def submit(self, **keys: Any) -> str:
        self.service.answers, script = deque([RUNNING]), self.service.answers
        run = self.runner.submit(job(**keys), None).status.run_id
        self.service.answers = script
        return run

    def wait(self, *answers: ServiceStatus | GpuyardError, **keys: Any) -> RunStatus:
        run = self.submit(**keys)
        self.service.answers = deque(answers)
        return self.runner.wait(run)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


FAULT, EXPIRED = LostSightError("Rate exceeded"), AuthError("the credentials have expired")


@pytest.mark.parametrize("fault", [FAULT, EXPIRED, UNKNOWN])
def test_a_wait_survives_temporary_faults(yard: Yard, fault: ServiceStatus | GpuyardError) -> None:
    status = yard.wait(RUNNING, *[fault] * 10, RUNNING, *[fault] * 10, DONE)
    assert status.state is State.SUCCEEDED


def test_many_short_outages_do_not_end_a_wait(yard: Yard) -> None:
    outage: list[ServiceStatus | GpuyardError] = [RUNNING, *[FAULT] * 8]
    assert yard.wait(*outage * 30, DONE).state is State.SUCCEEDED
    assert yard.now - 1_000_000 > 10 * LOST_SIGHT_AFTER_S


@pytest.mark.parametrize("fault", [FAULT, EXPIRED])
def test_a_lasting_fault_raises_lost_sight_and_fails_no_run(yard: Yard, fault: GpuyardError) -> None:
    run = yard.submit()
    yard.service.answers = deque([RUNNING, fault])
    with pytest.raises(LostSightError) as lost:
        yard.runner.wait(run)
    assert lost.value.exit_code is Exit.LOST_SIGHT
    assert str(fault) in str(lost.value)
    assert yard.now - 1_000_000 > LOST_SIGHT_AFTER_S
    yard.service.answers = deque([DONE])
    assert yard.runner.wait(run).state is State.SUCCEEDED  # no end was recorded during the fault


def test_a_first_look_without_permission_raises_at_once(yard: Yard) -> None:
    run = yard.submit()
    yard.service.answers = deque([EXPIRED])
    with pytest.raises(AuthError):
        yard.runner.wait(run)
    assert yard.pauses == []


def test_an_unknown_state_is_never_a_success(yard: Yard) -> None:
    status = yard.wait(RUNNING, UNKNOWN)
    assert (status.state, exit_for(status.state, status.reason)) == (State.UNKNOWN, Exit.LOST_SIGHT)
    yard.service.answers = deque([DONE])
    assert yard.runner.wait(status.run_id).state is State.SUCCEEDED


def test_pauses_between_polls_grow_and_have_jitter(yard: Yard) -> None:
    yard.wait(*[RUNNING] * 60, DONE)
    assert yard.pauses[0] < 0.3
    late = yard.pauses[-30:]
    assert all(0.7 * 25 <= pause <= 1.3 * 25 for pause in late)
    assert len({round(pause, 6) for pause in late}) > 20


def test_queue_timeout_is_enforced_by_gpuyard_where_the_service_has_none(yard: Yard) -> None:
    run = yard.submit(queue_timeout="10m")
    yard.service.answers = deque([PENDING] * 40 + [ServiceStatus(State.CANCELLED, ended_at=2.0)])
    status = yard.runner.wait(run)
    assert (status.state, status.reason, exit_for(status.state, status.reason)) == (State.FAILED, Reason.CAPACITY, Exit.CAPACITY)
    assert status.detail == "queue_timeout: no nodes became free in time"
    assert set(yard.service.cancelled) == {yard.runner.status(run).service.id}
    assert yard.now - 1_000_000 > 600


def test_a_job_that_starts_within_queue_timeout_is_not_cancelled(yard: Yard) -> None:
    assert yard.wait(*[PENDING] * 8, RUNNING, DONE, queue_timeout="10m").state is State.SUCCEEDED
    assert yard.service.cancelled == []


def test_a_cancel_by_queue_timeout_is_recorded_before_the_call(yard: Yard) -> None:
    """The process that cancelled the job dies before the service has ended it."""
    run = yard.submit(queue_timeout="10m")
    yard.now += 601
    yard.service.answers = deque([PENDING])
    yard.runner.submit(job(queue_timeout="10m"), None)
    assert yard.runner.status(run).detail == "queue_timeout: no nodes became free in time; cancelling it"
    yard.service.answers = deque([ServiceStatus(State.CANCELLED, ended_at=2.0)])
    assert yard.runner.status(run).reason is Reason.CAPACITY


def test_a_service_that_restarts_more_often_than_retries_allow_is_stopped(yard: Yard) -> None:
    run = yard.submit(retries={"preempted": 1})
    again = ServiceStatus(State.RECOVERING, started_at=0.0, restarts=(Reason.PREEMPTED,))
    restarted_twice = ServiceStatus(State.RECOVERING, started_at=0.0, restarts=(Reason.PREEMPTED,) * 2)
    yard.service.answers = deque([again, RUNNING, restarted_twice, ServiceStatus(State.CANCELLED, restarts=(Reason.PREEMPTED,) * 2)])
    status = yard.runner.wait(run)
    assert (status.state, status.reason, exit_for(status.state, status.reason)) == (State.STOPPED, Reason.PREEMPTED, Exit.STOPPED)
    assert yard.service.cancelled == [yard.runner.status(run).service.id]
    assert len(yard.service.submitted) == 1


def test_a_job_that_succeeds_before_its_cancel_is_succeeded(yard: Yard) -> None:
    run = yard.submit(queue_timeout="10m")
    yard.now += 601
    yard.service.answers = deque([PENDING, DONE])
    assert yard.runner.wait(run).state is State.SUCCEEDED
    assert len(yard.service.cancelled) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (QuotaError("no"), Reason.QUOTA),
        (CapacityError("no"), Reason.CAPACITY),
        (AuthError("no"), Reason.UNKNOWN),
        (UsageError("no"), Reason.UNKNOWN),
    ],
)
def test_after_a_refusal_only_the_next_submit_tries_again(yard: Yard, error: GpuyardError, reason: Reason) -> None:
    yard.service.refusals = deque([error])
    with pytest.raises(type(error)):
        yard.runner.submit(job(), None, key="nightly")
    yard.now += 3600
    (status,) = yard.runner.runs()
    assert (status.state, status.reason, status.started_at, status.cost.usd) == (State.STOPPED, reason, None, 0.0)
    assert yard.runner.wait(status.run_id).state is State.STOPPED
    assert yard.service.submitted == []
    again = yard.runner.submit(job(), None, key="nightly")
    assert (again.created, again.status.run_id, yard.service.submitted) == (True, status.run_id, [again.status.service.id])
    assert (again.status.service.id or "").startswith(f"{status.run_id}.1-")


def test_the_next_submit_looks_up_a_call_whose_response_was_lost(yard: Yard) -> None:
    yard.service.refusals = deque([LostSightError("no answer")])
    with pytest.raises(LostSightError):
        yard.runner.submit(job(), None, key="nightly")
    yard.now += 61
    submitted = yard.runner.submit(job(), None, key="nightly")
    assert (submitted.created, yard.service.submitted) == (True, [submitted.status.service.id])


def test_a_job_that_the_service_cannot_run_is_refused_before_anything_is_written(yard: Yard, tmp_path: Path) -> None:
    yard.service.problem = UsageError("not on this service")
    with pytest.raises(UsageError, match="not on this service"):
        yard.runner.submit(job(), None)
    assert list((tmp_path / "bucket").rglob("*")) == []


def test_the_cost_limit_covers_all_attempts_together(yard: Yard) -> None:
    """At a dollar a second and a limit of 100 dollars, two attempts of 40 s leave 20 s for the third."""
    run = yard.submit(max_cost_usd=100, retries={"preempted": 5})
    start = yard.now
    stopped = [
        ServiceStatus(State.STOPPED, Reason.PREEMPTED, 75, start, start + 40),
        ServiceStatus(State.STOPPED, Reason.PREEMPTED, 75, start, start + 40),
    ]
    yard.service.answers = deque([*stopped, DONE])
    yard.runner.wait(run)
    record, _ = yard.runner._runs.find(run).journal.get(run)
    assert [(s.limit_s, s.limit_reason) for s in record.submissions] == [(100, "cost"), (60, "cost"), (20, "cost")]


def test_a_submit_after_the_cost_limit_says_that_it_started_nothing(yard: Yard) -> None:
    run = yard.submit(max_cost_usd=100, retries={"preempted": 0})
    yard.service.answers = deque([ServiceStatus(State.STOPPED, Reason.PREEMPTED, 75, yard.now, yard.now + 100)])
    submitted = yard.runner.submit(job(max_cost_usd=100, retries={"preempted": 0}), None)
    assert (submitted.created, submitted.status.run_id, submitted.status.state) == (False, run, State.FAILED)
    assert submitted.note == "not started: earlier attempts used up the cost limit"


@pytest.fixture
def ahead(yard: Yard) -> str:
    """Return a run whose writer died before the call; the writer's clock was two hours ahead of everybody else's."""
    yard.now += 7200
    yard.service.refusals = deque([LostSightError("no answer")])
    with pytest.raises(LostSightError):
        yard.new_runner().submit(job(), None, key="nightly")
    yard.now -= 7200
    return yard.runner.runs()[0].run_id


def waiting(run: str) -> str:
    """Return the line that a submit or cancel reports while it waits for the machine with the wrong clock."""
    return f"run {run}: being submitted by a machine whose clock is 7,198 s ahead of this one; correct the clocks; waiting 180 s at most"


def test_a_submit_takes_over_a_record_of_a_clock_that_is_ahead_within_a_minute(yard: Yard, ahead: str) -> None:
    before, lines = yard.now, list[str]()
    submitted = yard.runner.submit(job(), None, key="nightly", on_wait=lines.append)
    assert (submitted.created, submitted.status.run_id) == (True, ahead)
    assert 60 <= yard.now - before < 70
    assert lines == [waiting(ahead)]


def test_a_wait_for_a_record_of_a_clock_that_is_ahead_says_so_and_ends(yard: Yard, ahead: str) -> None:
    seen: list[str | None] = []
    yard.service.answers = deque([DONE])
    before = yard.now
    assert yard.runner.wait(ahead, lambda status: seen.append(status.detail)).state is State.SUCCEEDED
    assert seen[0] == "being submitted by a machine whose clock is 7,200 s ahead of this one; correct the clocks"
    assert yard.now - before < 120


def test_a_cancel_of_a_record_of_a_clock_that_is_ahead_ends(yard: Yard, ahead: str) -> None:
    before, lines = yard.now, list[str]()
    assert yard.runner.cancel(ahead, lines.append).detail == "cancelled before it was submitted"
    assert yard.now - before < 70
    assert lines == [waiting(ahead)]
    assert (yard.service.submitted, yard.service.cancelled) == ([], [])


WAITS_TOO_LONG = PENDING
RUNS_TOO_LONG = ServiceStatus(State.RUNNING, started_at=0.0, overtime=True)
RESTARTED_TOO_OFTEN = ServiceStatus(State.RECOVERING, started_at=0.0, restarts=(Reason.PREEMPTED,) * 2)


@pytest.mark.parametrize("answer", [WAITS_TOO_LONG, RUNS_TOO_LONG, RESTARTED_TOO_OFTEN])
def test_list_and_status_never_cancel(yard: Yard, answer: ServiceStatus) -> None:
    run = yard.submit(queue_timeout="10m", retries={"preempted": 1})
    yard.now += 601
    yard.service.answers = deque([answer])
    statuses = [yard.runner.status(run), *yard.runner.runs()]
    assert {str(status.detail).partition("; ")[2] for status in statuses} == {"`gpuyard wait` or the next submit cancels it"}
    assert yard.service.cancelled == []
    yard.service.answers = deque([answer, replace(answer, state=State.CANCELLED, ended_at=2.0, overtime=False)])
    assert yard.runner.wait(run).state in {State.FAILED, State.STOPPED}
    assert len(yard.service.cancelled) == 1


def _runner_of_a_wrong_clock(yard: Yard, years: Callable[[], int]) -> Runner:
    return Runner(
        {"local": yard.target},
        backend_for=lambda _: yard.service,
        clock=lambda: yard.now + years() * 365.25 * 86400,
        elapsed=lambda: yard.now,
        sleep=yard._sleep,
    )


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_is_set_during_a_wait_ends_no_job_and_no_wait(yard: Yard, years: int) -> None:
    run, before, seen = yard.submit(queue_timeout="10m"), yard.now, list[RunStatus]()
    runner = _runner_of_a_wrong_clock(yard, lambda: years if seen else 0)
    yard.service.answers = deque([*[PENDING] * 10, FAULT, RUNNING, FAULT, DONE])
    assert runner.wait(run, seen.append).state is State.SUCCEEDED
    assert yard.service.cancelled == []
    assert yard.now - before < 600


@pytest.mark.parametrize("years", [-10, 10])
def test_queue_timeout_holds_with_a_clock_that_is_years_off(yard: Yard, years: int) -> None:
    run, before = yard.submit(queue_timeout="10m"), yard.now
    yard.service.answers = deque([PENDING] * 60 + [ServiceStatus(State.CANCELLED, ended_at=2.0)])
    assert _runner_of_a_wrong_clock(yard, lambda: years).wait(run).reason is Reason.CAPACITY
    assert yard.now - before > 600


def test_list_and_status_never_submit(yard: Yard) -> None:
    yard.service.refusals = deque([LostSightError("no answer")])
    with pytest.raises(LostSightError):
        yard.runner.submit(job(), None, key="nightly")
    yard.now += 3600
    (status,) = yard.runner.runs()
    assert yard.runner.status(status.run_id).detail == (
        "recorded, but its submit did not finish; `gpuyard wait` or the next submit finishes it"
    )
    assert yard.service.submitted == []


def test_an_id_that_the_service_never_gives_is_not_used(yard: Yard) -> None:
    """Of two runs one has a damaged record: it is reported, and the other one is listed as before."""
    good = yard.submit(name="good")
    bad = yard.submit(name="bad")
    journal = yard.runner._runs.find(bad).journal
    record, tag = journal.get(bad)
    journal.replace(record.with_last(service_id=f"../../virtualMachines/a/powerOff?{record.last.service_id}"), tag)
    reports: list[str] = []
    states = {status.run_id: status.state for status in yard.runner.runs(reports.append)}
    assert states == {good: State.SUCCEEDED, bad: State.UNKNOWN}
    assert len(reports) == 1
    for use in (yard.runner.status, yard.runner.cancel, lambda run: list(yard.runner.logs(run))):
        with pytest.raises(UsageError, match="service_id is not a job id of local"):
            use(bad)
    assert yard.service.cancelled == []


@pytest.mark.parametrize("command", ["status", "wait", "cancel"])
def test_a_record_that_keeps_changing_does_not_hold_a_command(yard: Yard, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    run = yard.submit()

    def changed(*_: object) -> str:
        yard.now += 1
        raise ChangedError(run)

    monkeypatch.setattr("gpuyard.training_jobs.lifecycle.journal.Journal.replace", changed)
    with pytest.raises(LostSightError, match="other processes"):
        getattr(yard.runner, command)(run)


def test_a_record_that_keeps_changing_does_not_hold_a_submit(yard: Yard, ahead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*_: object) -> str:
        yard.now += 1
        raise ChangedError(ahead)

    monkeypatch.setattr("gpuyard.training_jobs.lifecycle.journal.Journal.replace", changed)
    before = yard.now
    with pytest.raises(LostSightError, match="other processes"):
        yard.runner.submit(job(), None, key="nightly")
    assert yard.now - before < 200
