"""Translate Vertex AI's states and error texts into gpuyard's states and reasons. A state that is not in the table becomes UNKNOWN.

The texts come from the page "Understand the serverless training service" (docs.cloud.google.com, common errors), and from Compute
Engine, whose errors Vertex AI passes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...state import JOB_DONE, Outcome, Reason, State, classify
from ..base import ServiceStatus
from ..state_tables import FailureTable, NodeExitCodes, StateRow, failure_codes, find_reason

__all__ = ["ENDED", "JobFields", "status_of"]

ENDED = frozenset({"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "JOB_STATE_PARTIALLY_SUCCEEDED"})


@dataclass(frozen=True)
class JobFields:
    """The fields of a CustomJob that decide its status. Times are Unix times. `limit_s` and `limit_reason` come from the request."""

    state: str
    error: str = ""
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    limit_s: float = float("inf")
    limit_reason: Reason = Reason.TIMEOUT

    @property
    def overtime(self) -> bool:
        """Whether the job ran until its time limit."""
        return self.started_at is not None and self.ended_at is not None and self.ended_at - self.started_at >= self.limit_s


_ALIVE: dict[str, StateRow] = {
    "JOB_STATE_QUEUED": StateRow(State.PENDING, "waits for quota"),
    "JOB_STATE_PENDING": StateRow(State.PENDING, "machines are being prepared"),
    "JOB_STATE_RUNNING": StateRow(State.RUNNING),
    "JOB_STATE_CANCELLING": StateRow(State.RUNNING, "stopping"),
    "JOB_STATE_PAUSED": StateRow(State.RECOVERING, "paused by Vertex AI"),
    "JOB_STATE_UPDATING": StateRow(State.RUNNING, "its resources are being changed"),
}

_FAILURES: FailureTable = (
    (r"(?i)resources are insufficient|stockout|resource_pool_exhausted|not have enough resources|insufficient capacity", Reason.CAPACITY),
    (r"(?i)quota metrics exceed|exceeds? quota|quota exceeded", Reason.QUOTA),
    (r"(?i)preempted|spot vm", Reason.PREEMPTED),
    (r"(?i)timed? ?out|exceeded the (maximum|max) (running|run) time|deadline exceeded", Reason.TIMEOUT),
    (r"(?i)internal error|unavailable", Reason.INFRA),
    (r"(?i)permission|forbidden|not found|failed to pull|invalid|unauthorized", Reason.USER_ERROR),
)
_EXIT_CODE = re.compile(r"non-zero status of\s*([0-9]{1,3})")
_NO_MACHINES = "queue_timeout: no machines became available in time"


def status_of(job: JobFields, node_exit_codes: NodeExitCodes, console_url: str) -> ServiceStatus:
    """Return the status of a custom job."""
    row = _ALIVE.get(job.state)
    if row is not None:
        return ServiceStatus(row.state, started_at=job.started_at, detail=row.detail, console_url=console_url)
    ended = _ended(job, node_exit_codes)
    if ended is None:
        detail = f"Vertex AI reports {job.state}, a state that this version of gpuyard does not know"
        return ServiceStatus(State.UNKNOWN, started_at=job.started_at, detail=detail, console_url=console_url)
    outcome, text = ended
    return ServiceStatus(outcome.state, outcome.reason, outcome.exit_code, job.started_at, job.ended_at, text, console_url)


def _ended(job: JobFields, node_exit_codes: NodeExitCodes) -> tuple[Outcome, str | None] | None:
    """Return outcome and detail of a job that has ended; None for an unknown state."""
    detail: str | None = " ".join(job.error.split())[:500] or None
    limit = Outcome(State.FAILED, job.limit_reason, None)
    if job.state == "JOB_STATE_SUCCEEDED":
        return Outcome(State.SUCCEEDED, None, JOB_DONE), None
    if job.state == "JOB_STATE_CANCELLED":
        return limit if job.overtime else Outcome(State.CANCELLED, None, None), detail
    if job.state == "JOB_STATE_EXPIRED":
        if job.started_at is None:
            return Outcome(State.FAILED, Reason.CAPACITY, None), detail or _NO_MACHINES
        return limit, detail
    if job.state in {"JOB_STATE_FAILED", "JOB_STATE_PARTIALLY_SUCCEEDED"}:
        return _failed(job, node_exit_codes), detail
    return None


def _failed(job: JobFields, node_exit_codes: NodeExitCodes) -> Outcome:
    """Return the outcome of a failed job. The nodes' exit codes decide before the error text, which names at most one replica."""
    reason = find_reason(_FAILURES, job.error)
    if reason in {Reason.CAPACITY, Reason.QUOTA} and job.started_at is None:
        return Outcome(State.FAILED, reason, None)
    # At the time limit the nodes' codes only show how they reacted to SIGTERM.
    if reason is Reason.TIMEOUT or (job.overtime and reason is None):
        return Outcome(State.FAILED, job.limit_reason, None)
    reported = _EXIT_CODE.search(job.error)
    codes = failure_codes(node_exit_codes) or ([int(reported[1])] if reported else [])
    if codes:
        return classify(codes)
    if reason in {Reason.PREEMPTED, Reason.CAPACITY}:  # a running spot job whose machine is preempted ends with a stockout
        return Outcome(State.STOPPED, Reason.PREEMPTED, None)
    return Outcome(State.FAILED, reason or Reason.UNKNOWN, None)
