"""Translate Slurm's job states into gpuyard's states and reasons (slurm.schedmd.com/squeue.html, job state codes, read 2026-12)."""

from __future__ import annotations

from collections.abc import Callable

from ..backends.state_tables import FailureTable, NodeExitCodes, StateRow, failure_codes, find_reason
from ..mailbox import Report, Ticket
from ..state import JOB_DONE, Outcome, Reason, State, classify
from .slurm import JobRow

__all__ = ["forgotten", "refusal_reason", "report_of"]

_ALIVE: dict[str, StateRow] = {
    "PENDING": StateRow(State.PENDING),
    "CONFIGURING": StateRow(State.PENDING, "machines are being prepared"),
    "RUNNING": StateRow(State.RUNNING),
    "COMPLETING": StateRow(State.RUNNING, "its nodes are being cleaned up"),
    "STAGE_OUT": StateRow(State.RUNNING, "its nodes are being cleaned up"),
    "SUSPENDED": StateRow(State.RUNNING, "suspended by the cluster"),
    "STOPPED": StateRow(State.RUNNING, "suspended by the cluster"),
    "REQUEUED": StateRow(State.PENDING),
    "REQUEUE_HOLD": StateRow(State.PENDING, "held by the cluster"),
}
_LOST_NODE = {"NODE_FAIL", "BOOT_FAIL"}
_FAILED = {"FAILED", "OUT_OF_MEMORY"}
_REFUSALS: FailureTable = (
    (r"(?i)node count specification|requested node configuration|more processors|partition.*(down|drain)", Reason.CAPACITY),
    (r"(?i)limit|qos", Reason.QUOTA),
    (r"(?i)invalid|unknown|permission|not permitted", Reason.USER_ERROR),
)
_WAITING_FOR = {
    "Resources": "waits for free nodes",
    "Priority": "waits behind other jobs",
    "Dependency": "waits for an older job of the same name",
    "JobHeldUser": "held; run scontrol release on the cluster",
    "JobHeldAdmin": "held by an administrator",
    "PartitionDown": "the partition is down",
    "PartitionNodeLimit": "asks for more nodes than the partition allows",
    "PartitionTimeLimit": "timeout: is longer than the partition allows",
    "ReqNodeNotAvail": "its nodes are down, drained or reserved",
}


def report_of(
    row: JobRow,
    ticket: Ticket,
    *,
    ahead: int,
    cut: Reason | None,
    exit_code: Callable[[], int | None],
    node_exit_codes: NodeExitCodes,
    claimed: Callable[[], bool],
) -> Report:
    """Return the report about a job that Slurm lists.

    `ahead`: number of jobs that wait before this one. `cut`: limit for which the head cancelled the job; None = not cancelled. `exit_code`:
    function that asks Slurm for the exit code. `claimed`: function that returns whether the nodes have recorded their start.
    """
    known = _ALIVE.get(row.state)
    base = Report(state=State.UNKNOWN, slurm_job=row.id, started_at=row.started_at, cut=cut)
    if known is not None:
        started = row.started_at if known.state is State.RUNNING else None
        detail = known.detail or (_waiting(row.reason, ahead) if known.state is State.PENDING else None)
        return base.model_copy(update={"state": known.state, "detail": detail, "started_at": started})
    outcome, detail = _ended(row, ticket, cut, exit_code, node_exit_codes, claimed)
    if outcome is None:
        return base.model_copy(update={"detail": f"Slurm reports {row.state}, a state that this version of gpuyard does not know"})
    return _with_end(base, outcome, row.ended_at, detail)


def forgotten(ticket: Ticket, report: Report, now: float, node_exit_codes: NodeExitCodes) -> Report:
    """Return the last report of a job that Slurm no longer lists. The results that its nodes wrote decide.

    Without them, the reason is infra.
    """
    codes = node_exit_codes()
    complete = [code for code in codes if code is not None]
    if len(complete) == ticket.nodes and all(code == JOB_DONE for code in complete):
        outcome = Outcome(State.SUCCEEDED, None, JOB_DONE)
    elif failed := failure_codes(lambda: codes):
        outcome = classify(failed)
    else:
        outcome = Outcome(State.FAILED, Reason.INFRA, None)
    detail = None if outcome.state is State.SUCCEEDED else "Slurm no longer lists the job"
    return _with_end(report, outcome, now, detail)


def _with_end(report: Report, outcome: Outcome, ended_at: float | None, detail: str | None) -> Report:
    end = {"state": outcome.state, "reason": outcome.reason, "exit_code": outcome.exit_code, "ended_at": ended_at, "detail": detail}
    return report.model_copy(update=end)


def refusal_reason(text: str) -> Reason:
    """Return the reason why sbatch refused a job. `text`: the error of sbatch."""
    return find_reason(_REFUSALS, text) or Reason.UNKNOWN


def _waiting(reason: str, ahead: int) -> str:
    text = _WAITING_FOR.get(reason.partition(",")[0], f"waits: {reason}" if reason not in {"None", ""} else "waits for Slurm's next turn")
    return f"{text} ({ahead} waiting)" if reason in {"Resources", "Priority"} else text


def _ended(
    row: JobRow,
    ticket: Ticket,
    cut: Reason | None,
    exit_code: Callable[[], int | None],
    node_exit_codes: NodeExitCodes,
    claimed: Callable[[], bool],
) -> tuple[Outcome | None, str | None]:
    if row.state == "COMPLETED":
        return Outcome(State.SUCCEEDED, None, JOB_DONE), None
    if cut is not None or row.state in {"TIMEOUT", "DEADLINE"}:
        reason = cut or ticket.limit_reason
        return Outcome(State.FAILED, reason, None), f"{reason} after {ticket.limit_s} s"
    if row.state == "CANCELLED":
        return Outcome(State.CANCELLED, None, None), None
    if row.state == "PREEMPTED":
        return Outcome(State.STOPPED, Reason.PREEMPTED, None), "preempted by another job of the cluster"
    if row.state in _LOST_NODE:
        if claimed():
            return Outcome(State.FAILED, Reason.INFRA, None), "a node of the job failed"
        return Outcome(State.FAILED, Reason.CAPACITY, None), "the nodes could not be started"
    if row.state in _FAILED:
        codes = failure_codes(node_exit_codes)
        if not codes and (code := exit_code()):
            codes = [code]
        detail = "out of memory" if row.state == "OUT_OF_MEMORY" else None
        return classify(codes or [None]), detail
    return None, None
