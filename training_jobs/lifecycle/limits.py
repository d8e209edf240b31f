"""Enforce the limits that a service does not enforce: queue_timeout, retries, and the run time over all restarts."""

from __future__ import annotations

from dataclasses import replace

from ..backends.base import ServiceStatus
from ..state import Reason, State
from .journal import RunRecord
from .resubmit import retries_left

__all__ = ["exceeded_limit", "explain_cut"]

_CUTS = {  # reason for which gpuyard cancels a job -> the run's state, and the text for the user
    Reason.CAPACITY: (State.FAILED, "queue_timeout: no nodes became free in time"),
    Reason.PREEMPTED: (State.STOPPED, "preempted more often than retries.preempted allows"),
    Reason.TIMEOUT: (State.FAILED, "the time limit over all restarts was reached"),
    Reason.COST: (State.FAILED, "the cost limit over all restarts was reached"),
    Reason.PRUNED: (State.CANCELLED, "pruned: worse than the median of the sweep's trials at the same step"),
}


def exceeded_limit(record: RunRecord, status: ServiceStatus, age_s: float) -> Reason | None:
    """Return the limit that the run's newest job exceeds, or None. `age_s`: seconds since its submission was recorded."""
    last = record.last
    patience = last.spec.queue_timeout
    if patience is not None and status.state is State.PENDING and age_s > patience:
        return Reason.CAPACITY
    if status.overtime:
        return Reason(last.limit_reason)
    # Only while the job waits for machines: once it runs, the machines of the excess restart are already paid for.
    spent = status.restarts.count(Reason.PREEMPTED) > retries_left(record).preempted
    return Reason.PREEMPTED if spent and status.state is State.RECOVERING else None


def explain_cut(record: RunRecord, status: ServiceStatus, age_s: float) -> ServiceStatus:
    """Explain an exceeded limit in a job's status. If gpuyard has cancelled the job, also set state and reason."""
    cut = record.last.cut
    if cut is None:
        exceeded = exceeded_limit(record, status, age_s)
        if exceeded is None:
            return status
        return replace(status, detail=f"{_CUTS[exceeded][1]}; `gpuyard wait` or the next submit cancels it")
    state, detail = _CUTS[cut]
    if not status.state.ended:
        return replace(status, detail=f"{detail}; cancelling it")
    if status.state in {State.CANCELLED, State.STOPPED}:
        return replace(status, state=state, reason=cut, detail=detail)
    return status
