"""What AWS Batch says of a job, in our words: one table of its states, one of its reasons. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...state import Outcome, Reason, State, classify
from ..base import ServiceStatus

CANCELLED = "gpuyard: cancelled"
"""The reason with which a job is terminated on request."""
OVERTIME = "gpuyard: timeout over all attempts at the service"
"""The reason with which a job is terminated that Batch's own limit, one for each attempt, lets run on."""

_OUT_OF_TIME = 124
"""With which launch ends a job whose attempts used up its time together: it counts by the minute, and rather too much."""
_COUNTED_S = 60

_STATES = {
    "SUBMITTED": State.PENDING,
    "PENDING": State.PENDING,
    "RUNNABLE": State.PENDING,
    "STARTING": State.PENDING,
    "RUNNING": State.RUNNING,
    "SUCCEEDED": State.SUCCEEDED,
    "FAILED": State.FAILED,
}
_REASONS: tuple[tuple[str, Reason], ...] = (
    ("attempt duration exceeded timeout", Reason.TIMEOUT),
    (OVERTIME, Reason.TIMEOUT),
    ("vcpulimitexceeded", Reason.QUOTA),
    ("limit exceeded", Reason.QUOTA),
    ("capacity:", Reason.CAPACITY),
    ("misconfiguration:compute_environment_max_resource", Reason.CAPACITY),
    ("misconfiguration:job_resource_requirement", Reason.USER_ERROR),
    ("cannotpullcontainer", Reason.USER_ERROR),
    ("cannotstartcontainer", Reason.USER_ERROR),
    ("outofmemory", Reason.USER_ERROR),
)
"""By what a job's reasons contain, whatever its exit code; the first that fits."""


def status_of(job: Mapping[str, Any], *, spot: bool, console_url: str) -> ServiceStatus:
    """The state of a job as DescribeJobs tells it."""
    state = _STATES.get(job["status"], State.UNKNOWN)
    attempts = job.get("attempts") or []
    if state is State.PENDING and attempts:  # it has run: no wait for its first nodes, and no queue_timeout's business
        state = State.RECOVERING
    outcome = _end(job, attempts, spot) if state is State.FAILED else Outcome(state, None, 0 if state is State.SUCCEEDED else None)
    started = [moment for moment in (*(attempt.get("startedAt") for attempt in attempts), job.get("startedAt")) if moment]
    stopped = job.get("stoppedAt")
    before = [_graded(attempt, spot).reason for attempt in (attempts[:-1] if outcome.state.ended else attempts)]
    return ServiceStatus(
        outcome.state,
        outcome.reason,
        outcome.exit_code,
        min(started) / 1000 if started else None,
        stopped / 1000 if stopped and outcome.state.ended else None,
        _detail(job, state),
        console_url,
        tuple(reason for reason in before if reason is not None),
    )


def is_overtime(job: Mapping[str, Any], now: float) -> bool:
    """Whether the attempts of a job that still runs took longer together than one may."""
    limit, attempts = (job.get("timeout") or {}).get("attemptDurationSeconds"), job.get("attempts") or []
    if job["status"] != "RUNNING" or not limit or not attempts or not job.get("startedAt"):
        return False
    return bool(_ran_ms(attempts) + now * 1000 - job["startedAt"] > limit * 1000)


def _ran_ms(attempts: Sequence[Mapping[str, Any]]) -> float:
    """For how long attempts that ended held their machines; one whose machine was lost before it started held none."""
    times = [(attempt.get("startedAt"), attempt.get("stoppedAt")) for attempt in attempts]
    return float(sum(stopped - started for started, stopped in times if started is not None and stopped is not None))


def _end(job: Mapping[str, Any], attempts: list[Mapping[str, Any]], spot: bool) -> Outcome:
    """How a failed job ended: on request, by the service's doing, or as its last attempt did."""
    last: Mapping[str, Any] = attempts[-1] if attempts else {"container": job.get("container")}
    said = job.get("statusReason") or ""
    code = (last.get("container") or {}).get("exitCode")
    if said.startswith(CANCELLED):
        return Outcome(State.CANCELLED, None, code)
    if said.startswith(OVERTIME) or not job.get("isTerminated"):
        found = _graded({**last, "statusReason": f"{said} {last.get('statusReason') or ''}"}, spot)
        limit_s = (job.get("timeout") or {}).get("attemptDurationSeconds", math.inf)
        if code == _OUT_OF_TIME and len(attempts) > 1 and _ran_ms(attempts) > (limit_s - _COUNTED_S * len(attempts)) * 1000:
            found = Outcome(State.FAILED, Reason.TIMEOUT, None)
        if found.reason is Reason.TIMEOUT and job.get("tags", {}).get("limit") == Reason.COST:
            return Outcome(State.FAILED, Reason.COST, None)
        return found
    return Outcome(State.CANCELLED, None, code)  # by somebody, at the service itself


def _graded(attempt: Mapping[str, Any], spot: bool) -> Outcome:
    """How one attempt ended: by the table of reasons, or by its main node's exit code."""
    container = attempt.get("container") or {}
    code = container.get("exitCode")
    said = " ".join(str(text) for text in (attempt.get("statusReason"), container.get("reason")) if text).lower()
    for text, reason in _REASONS:
        if text in said:
            return Outcome(State.FAILED, reason, None if reason is Reason.TIMEOUT else code)
    if "host ec2" in said:
        return Outcome(State.STOPPED, Reason.PREEMPTED, code) if spot else classify([None])
    if code == 0:  # the service calls it failed all the same: not a success, and not the script's doing
        return Outcome(State.FAILED, Reason.INFRA, code)
    return classify([code])


def _detail(job: Mapping[str, Any], state: State) -> str | None:
    said, tried = job.get("statusReason"), len(job.get("attempts", []))
    if state is State.UNKNOWN:
        return f"AWS Batch calls it {job['status']}, which this version does not know" + (f": {said}" if said else "")
    if state in {State.PENDING, State.RECOVERING}:
        begun = f"attempt {tried + 1} at the service: " if tried else ""
        return f"{begun}{job['status']}" + (f": {said}" if said else "")
    if state is State.FAILED and job.get("attempts"):
        reason = (job["attempts"][-1].get("container") or {}).get("reason")
        return f"{said}: {reason}" if reason else said
    return said if state is State.FAILED else None
