"""Every row of the resubmit table, and how retries are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends.base import ServiceStatus
from gpuyard.training_jobs.errors import ConflictError
from gpuyard.training_jobs.lifecycle.handle import make_submission
from gpuyard.training_jobs.lifecycle.journal import RunRecord, SubmissionEnd
from gpuyard.training_jobs.lifecycle.resubmit import Action, apply_allowance, decide, has_retry_left, retries_left
from gpuyard.training_jobs.run import Code
from gpuyard.training_jobs.spec import JobSpec
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.target import parse_target
from tests.helpers.local_pool import job, target_document

TARGET = parse_target(target_document(Path("/yard")))


def record(spec: JobSpec | None = None, ends: tuple[tuple[State, Reason | None] | None, ...] = (None,), **last: Any) -> RunRecord:
    submissions = tuple(
        make_submission(spec or job(), TARGET, Code("c0de", "file:///c"), (), attempt=i + 1, fresh=i == 0, now=1000.0).model_copy(
            update={
                "service_id": f"s{i}",
                "ended": end and SubmissionEnd(state=end[0], reason=end[1], exit_code=None, started_at=1000.0, ended_at=1001.0),
            }
        )
        for i, end in enumerate(ends)
    )
    made = RunRecord(run_id="job-1", name="job", stack="p/s", pool="local", request_key="k", created_at=1000.0, submissions=submissions)
    return made.with_last(**last) if last else made


@pytest.mark.parametrize(
    ("state", "retry", "action", "fresh"),
    [
        (State.PENDING, False, Action.ADOPT, False),
        (State.RUNNING, False, Action.ADOPT, False),
        (State.RECOVERING, False, Action.ADOPT, False),
        (State.UNKNOWN, False, Action.ADOPT, False),
        (State.SUCCEEDED, False, Action.ADOPT, False),
        (State.STOPPED, False, Action.NEXT, False),
        (State.FAILED, False, Action.ADOPT, False),
        (State.CANCELLED, False, Action.ADOPT, False),
        (State.PENDING, True, Action.ADOPT, False),
        (State.RUNNING, True, Action.ADOPT, False),
        (State.UNKNOWN, True, Action.ADOPT, False),
        (State.SUCCEEDED, True, Action.ADOPT, False),
        (State.STOPPED, True, Action.NEXT, True),
        (State.FAILED, True, Action.NEXT, True),
        (State.CANCELLED, True, Action.NEXT, True),
    ],
)
def test_the_action_for_a_run_that_has_a_service_id(state: State, retry: bool, action: Action, fresh: bool) -> None:
    choice = decide(record(), ServiceStatus(state), job(), "c0de", retry=retry, age_s=1000.0)
    assert (choice.action, choice.fresh) == (action, fresh)


@pytest.mark.parametrize(("age_s", "action"), [(0.0, Action.POLL), (59.9, Action.POLL), (60.0, Action.TAKE_OVER)])
def test_a_record_without_a_service_id_belongs_to_its_writer_for_a_minute(age_s: float, action: Action) -> None:
    assert decide(record(service_id=None), None, job(), "c0de", retry=False, age_s=age_s).action is action


def test_the_note_of_a_failed_run_names_retry_and_again() -> None:
    note = decide(record(), ServiceStatus(State.FAILED, Reason.TIMEOUT), job(), "c0de", retry=False, age_s=0).note
    assert "--retry" in note
    keyless = record().model_copy(update={"request_key": None})
    assert "--again" in decide(keyless, ServiceStatus(State.FAILED), job(), "c0de", retry=False, age_s=0).note


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("retry", [False, True])
def test_another_job_under_the_same_key_is_refused_unless_retried(state: State, retry: bool) -> None:
    other = job(nodes=2)
    if retry and state in {State.STOPPED, State.FAILED, State.CANCELLED}:
        assert decide(record(), ServiceStatus(state), other, "new", retry=True, age_s=0).action is Action.NEXT
        return
    with pytest.raises(ConflictError) as caught:
        decide(record(), ServiceStatus(state), other, "new", retry=retry, age_s=0)
    assert [p.key for p in caught.value.problems] == ["nodes", "code"]
    assert "was 1, is 2" in str(caught.value)


def test_limits_and_retries_may_change_under_a_key() -> None:
    other = job(timeout="2h", max_restarts=4, retries={"infra": 3})
    assert decide(record(), ServiceStatus(State.RUNNING), other, "c0de", retry=False, age_s=0).action is Action.ADOPT


@pytest.mark.parametrize(
    ("retries", "before", "reason", "left"),
    [
        ({"preempted": 2}, [], Reason.PREEMPTED, True),
        ({"preempted": 2}, [Reason.PREEMPTED], Reason.PREEMPTED, True),
        ({"preempted": 2}, [Reason.PREEMPTED] * 2, Reason.PREEMPTED, False),
        ({"preempted": 0}, [], Reason.PREEMPTED, False),
        ({"infra": 1}, [Reason.PREEMPTED], Reason.INFRA, True),
        ({"infra": 1}, [Reason.FABRIC], Reason.INFRA, False),
        ({"infra": 1}, [Reason.INFRA], Reason.FABRIC, False),
        ({}, [], Reason.USER_ERROR, False),
        ({"user_error": 1}, [], Reason.USER_ERROR, True),
        ({"preempted": 9, "infra": 9, "user_error": 9}, [], Reason.TIMEOUT, False),
        ({"preempted": 9, "infra": 9, "user_error": 9}, [], Reason.COST, False),
    ],
)
def test_retries_are_counted_by_reason(retries: dict[str, int], before: list[Reason], reason: Reason, left: bool) -> None:
    ends = (*((State.STOPPED, r) for r in before), None)
    found = record(job(retries=retries), ends)
    assert has_retry_left(found, reason) is left
    # the same after the newest end is recorded
    written = record(job(retries=retries), (*((State.STOPPED, r) for r in before), (State.STOPPED, reason)))
    assert has_retry_left(written, reason) is left


def test_a_failure_with_a_retry_left_is_a_stop() -> None:
    paying = record(job(retries={"infra": 1, "user_error": 1}))
    assert apply_allowance(ServiceStatus(State.FAILED, Reason.INFRA), paying).state is State.STOPPED
    assert apply_allowance(ServiceStatus(State.FAILED, Reason.USER_ERROR, 3), paying).state is State.STOPPED
    assert apply_allowance(ServiceStatus(State.FAILED, Reason.USER_ERROR, 64), paying).state is State.FAILED
    assert apply_allowance(ServiceStatus(State.FAILED, Reason.INFRA), record()).state is State.FAILED
    assert apply_allowance(ServiceStatus(State.STOPPED, Reason.PREEMPTED), record(job(retries={"preempted": 0}))).state is State.STOPPED


def test_retry_restarts_the_allowance() -> None:
    spent = record(job(retries={"infra": 1}), ((State.STOPPED, Reason.INFRA), (State.FAILED, Reason.INFRA)))
    assert not has_retry_left(spent, Reason.INFRA)
    fresh = spent.with_next(spent.last.model_copy(update={"fresh": True, "ended": None}))
    assert has_retry_left(fresh, Reason.INFRA)


def test_restarts_by_the_service_count_as_retries() -> None:
    """Batch used all three allowed restarts by itself."""
    running = record(job(retries={"preempted": 3, "infra": 1}))
    again = (Reason.PREEMPTED,) * 3
    assert not has_retry_left(running, Reason.PREEMPTED, again)
    assert has_retry_left(running, Reason.PREEMPTED, again[:2])
    assert apply_allowance(ServiceStatus(State.FAILED, Reason.INFRA, restarts=again), running).state is State.STOPPED
    assert apply_allowance(ServiceStatus(State.FAILED, Reason.INFRA, restarts=(Reason.FABRIC,)), running).state is State.FAILED
    assert retries_left(running) == running.last.spec.retries
    stopped = record(job(retries={"preempted": 3, "infra": 1}), ((State.STOPPED, Reason.PREEMPTED),))
    ended = stopped.submissions[0].ended
    assert ended is not None
    first = stopped.submissions[0].model_copy(update={"ended": ended.model_copy(update={"restarts": (Reason.PREEMPTED, Reason.FABRIC)})})
    second = first.model_copy(update={"ended": None, "fresh": False})
    left = retries_left(stopped.model_copy(update={"submissions": (first, second)}))
    assert (left.preempted, left.infra, left.user_error) == (1, 0, 0)
