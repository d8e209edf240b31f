"""Run states, reasons and the table of exit codes.

A run's states::

    PENDING -> RUNNING <-> RECOVERING        (restarts inside one attempt)
       |          |
       |          +-> SUCCEEDED
       |          +-> STOPPED   (resumable, nothing alive) -> next attempt -> PENDING
       +----------+-> FAILED | CANCELLED
    UNKNOWN: the service reported an unknown state, or cannot be queried.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

__all__ = [
    "JOB_BAD_CONFIG",
    "JOB_DONE",
    "JOB_FABRIC",
    "JOB_IO_ERROR",
    "JOB_RESUMABLE",
    "MEANING",
    "Exit",
    "Outcome",
    "Reason",
    "State",
    "classify",
    "exit_for",
]


class State(StrEnum):
    """The state of a run. A run that is PENDING, RUNNING, RECOVERING or UNKNOWN has not ended."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    RECOVERING = "RECOVERING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"

    @property
    def ended(self) -> bool:
        """Whether the attempt is over: none of its processes is alive."""
        return self in _ENDED


_ENDED = frozenset({State.STOPPED, State.SUCCEEDED, State.FAILED, State.CANCELLED})


class Reason(StrEnum):
    """The reason for an attempt's end."""

    USER_ERROR = "user_error"
    INFRA = "infra"
    PREEMPTED = "preempted"
    CAPACITY = "capacity"
    QUOTA = "quota"
    TIMEOUT = "timeout"
    COST = "cost"
    FABRIC = "fabric"
    PRUNED = "pruned"
    UNKNOWN = "unknown"


class Exit(IntEnum):
    """Exit codes of all commands. Only `wait`, `submit --wait` and, for a run that has failed, `submit --check` return a job's outcome."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CAPACITY = 3
    QUOTA = 4
    AUTH = 5
    FABRIC = 6
    NOT_FOUND = 7
    LOST_SIGHT = 8
    INTERNAL = 70
    STOPPED = 75
    TIMEOUT = 124
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.OK: "recorded or succeeded",
    Exit.FAILED: "the job failed or was cancelled; its own exit code is in the JSON",
    Exit.USAGE: "bad spec or usage; nothing was created or changed",
    Exit.CAPACITY: "no capacity, or queue_timeout was reached",
    Exit.QUOTA: "quota",
    Exit.AUTH: "authentication or permission",
    Exit.FABRIC: "fabric below its floor",
    Exit.NOT_FOUND: "not found",
    Exit.LOST_SIGHT: "lost sight of a job that may still run",
    Exit.INTERNAL: "a fault in gpuyard itself",
    Exit.STOPPED: "stopped, resumable",
    Exit.TIMEOUT: "timed out",
    Exit.INTERRUPTED: "interrupted; the job continues",
}

_FAILED_BY_REASON = {
    Reason.TIMEOUT: Exit.TIMEOUT,
    Reason.CAPACITY: Exit.CAPACITY,
    Reason.QUOTA: Exit.QUOTA,
    Reason.FABRIC: Exit.FABRIC,
}

# A job's own exit codes. launch and train hold copies, which a test compares.
JOB_DONE = 0
JOB_BAD_CONFIG = 64
JOB_FABRIC = 69
JOB_IO_ERROR = 74
JOB_RESUMABLE = 75


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: state, reason, and the exit code that decided."""

    state: State
    reason: Reason | None
    exit_code: int | None


def exit_for(state: State, reason: Reason | None) -> Exit:
    """Return the exit code of `gpuyard wait` for a run's state and reason."""
    if state is State.SUCCEEDED:
        return Exit.OK
    if state is State.STOPPED:
        return Exit.STOPPED
    if state is State.UNKNOWN:
        return Exit.LOST_SIGHT
    if state is State.FAILED and reason is not None:
        return _FAILED_BY_REASON.get(reason, Exit.FAILED)
    return Exit.FAILED


def classify(node_codes: list[int | None]) -> Outcome:
    """Return the outcome of an attempt from its nodes' exit codes.

    `None`: a node wrote no code, because it was killed or its machine was lost. The first of these that applies decides: bad
    configuration, network below its floor, failed storage or a preflight that timed out, lost node, failure, resumable exit, success.
    """
    codes = [code for code in node_codes if code is not None]
    for special, reason in ((JOB_BAD_CONFIG, Reason.USER_ERROR), (JOB_FABRIC, Reason.FABRIC), (JOB_IO_ERROR, Reason.INFRA)):
        if special in codes:
            return Outcome(State.FAILED, reason, special)
    failed = next((code for code in codes if code not in (JOB_DONE, JOB_RESUMABLE)), None)
    lost = len(codes) < len(node_codes)
    if failed is not None and not lost:
        return Outcome(State.FAILED, Reason.USER_ERROR, failed)
    if lost:
        return Outcome(State.FAILED, Reason.INFRA, failed)
    if JOB_RESUMABLE in codes:
        return Outcome(State.STOPPED, Reason.PREEMPTED, JOB_RESUMABLE)
    return Outcome(State.SUCCEEDED, None, JOB_DONE)
