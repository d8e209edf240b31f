"""Translate a Batch job's states and reasons into gpuyard's states and reasons. A state that is not in the tables becomes UNKNOWN."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ....plain_data import PlainMapping
from ...state import Outcome, Reason, State, classify
from ..base import ServiceStatus

__all__ = ["CANCELLED", "is_overtime", "status_of"]

CANCELLED = "gpuyard: cancelled"
"""Reason that gpuyard passes to TerminateJob."""

_OUT_OF_TIME = 124
"""launch's exit code when all attempts together used up the time limit."""
_COUNTED_S = 60
_YEAR_MS = 366 * 86_400_000

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
    ("vcpulimitexceeded", Reason.QUOTA),
    ("limit exceeded", Reason.QUOTA),
    ("capacity:", Reason.CAPACITY),
    ("misconfiguration:compute_environment_max_resource", Reason.CAPACITY),
    ("misconfiguration:job_resource_requirement", Reason.USER_ERROR),
    ("error gathering device information", Reason.INFRA),  # Docker: the machine lacks a device, such as an EFA card
    ("cannotpullcontainer", Reason.USER_ERROR),
    ("cannotstartcontainer", Reason.USER_ERROR),
    ("outofmemory", Reason.USER_ERROR),
)
"""Texts in Batch's reasons, in lower case. The first match decides, before the exit code."""

_Entry = PlainMapping  # a job or an attempt of DescribeJobs


def status_of(job: _Entry, *, spot: bool, console_url: str, waits_for: str = "") -> ServiceStatus:
    """Convert a job of DescribeJobs to its status. `waits_for`: the reason why the environment starts no machines."""
    state = _STATES.get(job["status"], State.UNKNOWN)
    attempts = job.get("attempts") or []
    if state is State.PENDING and attempts:  # the job has run before, so queue_timeout does not apply
        state = State.RECOVERING
    outcome = _failed(job, attempts, spot) if state is State.FAILED else Outcome(state, None, 0 if state is State.SUCCEEDED else None)
    started = [moment for moment in (*(attempt.get("startedAt") for attempt in attempts), job.get("startedAt")) if moment]
    stopped = job.get("stoppedAt")
    earlier = [_attempt_outcome(attempt, spot).reason for attempt in (attempts[:-1] if outcome.state.ended else attempts)]
    return ServiceStatus(
        outcome.state,
        outcome.reason,
        outcome.exit_code,
        min(started) / 1000 if started else None,
        stopped / 1000 if stopped and outcome.state.ended else None,
        "; ".join(filter(None, (_detail(job, state), waits_for))) or None,
        console_url,
        tuple(reason for reason in earlier if reason is not None),
    )


def is_overtime(job: _Entry, now: float) -> bool:
    """Return whether a running job exceeds the time limit over all attempts. (Batch limits each attempt separately.) `now`: Unix time."""
    limit, attempts = (job.get("timeout") or {}).get("attemptDurationSeconds"), job.get("attempts") or []
    if job["status"] != "RUNNING" or not limit or not attempts or not job.get("startedAt"):
        return False
    runs_ms = now * 1000 - job["startedAt"]
    return bool(runs_ms < _YEAR_MS and _ran_ms(attempts) + runs_ms > limit * 1000)  # a year: this machine's clock is wrong


def _ran_ms(attempts: Sequence[_Entry]) -> float:
    """Return the total run time of ended attempts in ms. An attempt that never started has no times."""
    times = [(attempt.get("startedAt"), attempt.get("stoppedAt")) for attempt in attempts]
    return float(sum(stopped - started for started, stopped in times if started is not None and stopped is not None))


def _failed(job: _Entry, attempts: Sequence[_Entry], spot: bool) -> Outcome:
    """Return the outcome of a failed job: cancelled, timed out, or the outcome of its last attempt."""
    last: _Entry = attempts[-1] if attempts else {"container": job.get("container")}
    job_reason = job.get("statusReason") or ""
    code = (last.get("container") or {}).get("exitCode")
    if job_reason.startswith(CANCELLED) or job.get("isTerminated"):  # cancelled by gpuyard, or by AWS's own tools
        return Outcome(State.CANCELLED, None, code)
    outcome = _attempt_outcome({**last, "statusReason": f"{job_reason} {last.get('statusReason') or ''}"}, spot)
    limit_s = (job.get("timeout") or {}).get("attemptDurationSeconds", math.inf)
    if code == _OUT_OF_TIME and len(attempts) > 1 and _ran_ms(attempts) > (limit_s - _COUNTED_S * len(attempts)) * 1000:
        outcome = Outcome(State.FAILED, Reason.TIMEOUT, None)
    if outcome.reason is Reason.TIMEOUT and job.get("tags", {}).get("limit") == Reason.COST:
        return Outcome(State.FAILED, Reason.COST, None)
    return outcome


def _attempt_outcome(attempt: _Entry, spot: bool) -> Outcome:
    """Return the outcome of one attempt: from the table of reasons, else from the main node's exit code."""
    container = attempt.get("container") or {}
    code = container.get("exitCode")
    reasons = " ".join(str(text) for text in (attempt.get("statusReason"), container.get("reason")) if text).lower()
    for text, reason in _REASONS:
        if text in reasons:
            return Outcome(State.FAILED, reason, None if reason is Reason.TIMEOUT else code)
    if "host ec2" in reasons:
        return Outcome(State.STOPPED, Reason.PREEMPTED, code) if spot else classify([None])
    if code == 0:  # Batch reports a failure although the script succeeded
        return Outcome(State.FAILED, Reason.INFRA, code)
    return classify([code])


def _detail(job: _Entry, state: State) -> str | None:
    reason, attempts = job.get("statusReason"), job.get("attempts") or []
    if state is State.UNKNOWN:
        return f"AWS Batch reports {job['status']}, a state that this version of gpuyard does not know" + (f": {reason}" if reason else "")
    if state in {State.PENDING, State.RECOVERING}:
        attempt = f"attempt {len(attempts) + 1} at the service: " if attempts else ""
        return f"{attempt}{job['status']}" + (f": {reason}" if reason else "")
    if state is State.FAILED and attempts:
        container_reason = (attempts[-1].get("container") or {}).get("reason")
        return f"{reason}: {container_reason}" if container_reason else reason
    return reason if state is State.FAILED else None
