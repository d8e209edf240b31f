"""Vertex's states and error texts in our words: two tables, and UNKNOWN for what is in neither. Pure.

The texts are those of the page "Understand the serverless training service" (docs.cloud.google.com, common errors), and of Compute
Engine where Vertex passes them on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ...state import JOB_DONE, Outcome, Reason, State, classify
from ..base import ServiceStatus


@dataclass(frozen=True)
class Told:
    """What of a CustomJob decides: `limit_s` and `limit_reason` are those of its request."""

    state: str
    error: str = ""
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    limit_s: float = float("inf")
    limit_reason: Reason = Reason.TIMEOUT

    @property
    def overtime(self) -> bool:
        """Whether it ran as long as it may."""
        return self.started_at is not None and self.ended_at is not None and self.ended_at - self.started_at >= self.limit_s


_ALIVE: dict[str, tuple[State, str | None]] = {
    "JOB_STATE_QUEUED": (State.PENDING, "waits for quota"),
    "JOB_STATE_PENDING": (State.PENDING, "machines are being prepared"),
    "JOB_STATE_RUNNING": (State.RUNNING, None),
    "JOB_STATE_CANCELLING": (State.RUNNING, "stopping"),
    "JOB_STATE_PAUSED": (State.RECOVERING, "paused by Vertex"),
    "JOB_STATE_UPDATING": (State.RUNNING, "its resources are being changed"),
}

# The first row that is found in the text decides; what the nodes left is looked at before it, where the text speaks of a replica.
_TEXTS: tuple[tuple[str, Reason], ...] = (
    (r"(?i)resources are insufficient|stockout|resource_pool_exhausted|not have enough resources|insufficient capacity", Reason.CAPACITY),
    (r"(?i)quota metrics exceed|exceeds? quota|quota exceeded", Reason.QUOTA),
    (r"(?i)preempted|spot vm", Reason.PREEMPTED),
    (r"(?i)timed? ?out|exceeded the (maximum|max) (running|run) time|deadline exceeded", Reason.TIMEOUT),
    (r"(?i)internal error|unavailable", Reason.INFRA),
    (r"(?i)permission|forbidden|not found|failed to pull|invalid|unauthorized", Reason.USER_ERROR),
)
_EXIT_CODE = re.compile(r"non-zero status of\s*([0-9]{1,3})")
EXPIRED_UNSTARTED = "no machines came within the longest wait"
Codes = Callable[[], list[int | None]]


def status_of(told: Told, exit_codes: Codes, console_url: str) -> ServiceStatus:
    """What a job's state means. `exit_codes` is asked for what the nodes left only where Vertex's own word does not tell."""
    alive = _ALIVE.get(told.state)
    if alive is not None:
        return ServiceStatus(alive[0], started_at=told.started_at, detail=alive[1], console_url=console_url)
    ended = _ended(told, exit_codes)
    if ended is None:
        new = f"Vertex says {told.state}, which this version does not know"
        return ServiceStatus(State.UNKNOWN, started_at=told.started_at, detail=new, console_url=console_url)
    outcome, detail = ended
    return ServiceStatus(outcome.state, outcome.reason, outcome.exit_code, told.started_at, told.ended_at, detail, console_url)


def _ended(told: Told, exit_codes: Codes) -> tuple[Outcome, str | None] | None:
    said: str | None = " ".join(told.error.split())[:500] or None
    if told.state == "JOB_STATE_SUCCEEDED":
        return Outcome(State.SUCCEEDED, None, JOB_DONE), None
    if told.state == "JOB_STATE_CANCELLED":
        return (_limit(told), said) if told.overtime else (Outcome(State.CANCELLED, None, None), said)
    if told.state == "JOB_STATE_EXPIRED":
        if told.started_at is None:
            return Outcome(State.FAILED, Reason.CAPACITY, None), said or EXPIRED_UNSTARTED
        return _limit(told), said
    if told.state in {"JOB_STATE_FAILED", "JOB_STATE_PARTIALLY_SUCCEEDED"}:
        return _failed(told, exit_codes), said
    return None


def _failed(told: Told, exit_codes: Codes) -> Outcome:
    """What the nodes left outranks the text: it is exact, and of all of them."""
    reason = next((reason for pattern, reason in _TEXTS if re.search(pattern, told.error)), None)
    if reason in {Reason.CAPACITY, Reason.QUOTA} and told.started_at is None:
        return Outcome(State.FAILED, reason, None)
    if reason is Reason.TIMEOUT or (told.overtime and reason is None):  # what they left then is how they obeyed the order to stop
        return _limit(told)
    left = [code for code in exit_codes() if code not in (None, JOB_DONE)]
    said = _EXIT_CODE.search(told.error)
    codes = left or ([int(said[1])] if said else [])
    if codes:
        return classify(list(codes))
    if reason is Reason.PREEMPTED or (reason is Reason.CAPACITY and told.started_at is not None):
        return Outcome(State.STOPPED, Reason.PREEMPTED, None)  # a spot machine that is taken ends its job as a stockout
    return Outcome(State.FAILED, reason or Reason.UNKNOWN, None)


def _limit(told: Told) -> Outcome:
    return Outcome(State.FAILED, told.limit_reason, None)
