"""Translate SageMaker's statuses and failure reasons into gpuyard's states and reasons. Any other status becomes UNKNOWN."""

from __future__ import annotations

import itertools
import re
from datetime import datetime

from ....plain_data import PlainMapping
from ...state import JOB_DONE, Reason, State
from ..base import ServiceStatus
from ..state_tables import FailureTable, NodeExitCodes, StateRow, failed_outcome, find_reason

__all__ = ["ENDED", "status_of", "summary_status"]

ENDED = frozenset({"Completed", "Failed", "Stopped"})
_ANY = "*"
_STATES: dict[tuple[str, str], StateRow] = {
    ("InProgress", "Starting"): StateRow(State.PENDING, "machines are being started"),
    ("InProgress", "Pending"): StateRow(State.PENDING, "waits for machines"),
    ("InProgress", "LaunchingMLInstances"): StateRow(State.PENDING, "machines are being started"),
    ("InProgress", "PreparingTrainingStack"): StateRow(State.PENDING, "machines are being prepared"),
    ("InProgress", "Downloading"): StateRow(State.RUNNING, "downloads its input"),
    ("InProgress", "DownloadingTrainingImage"): StateRow(State.RUNNING, "downloads its image"),
    ("InProgress", "Training"): StateRow(State.RUNNING),
    ("InProgress", "Uploading"): StateRow(State.RUNNING, "uploads its output"),
    ("InProgress", "Updating"): StateRow(State.RUNNING),
    ("InProgress", "Interrupted"): StateRow(State.RECOVERING, "spot machines were preempted; SageMaker waits for others"),
    ("InProgress", "Restarting"): StateRow(State.RECOVERING, "SageMaker restarts the job"),
    ("Stopping", _ANY): StateRow(State.RUNNING, "stopping"),
    ("Completed", "Completed"): StateRow(State.SUCCEEDED),
    ("Stopped", "Stopped"): StateRow(State.CANCELLED),
    ("Stopped", "MaxRuntimeExceeded"): StateRow(State.FAILED, "the time limit was reached", Reason.TIMEOUT),
    ("Stopped", "MaxWaitTimeExceeded"): StateRow(State.FAILED, "the wait for spot machines took too long", Reason.CAPACITY),
    ("Stopped", "Interrupted"): StateRow(State.STOPPED, "spot machines were preempted", Reason.PREEMPTED),
}

# FailureReason is free text. If it contains an exit code, that decides; else this table does.
_FAILURES: FailureTable = (
    (r"CapacityError|InsufficientInstanceCapacity|MaxPendingTime|[Uu]nable to provision requested ML compute capacity", Reason.CAPACITY),
    (r"ResourceLimitExceeded|account-level service limit", Reason.QUOTA),
    (r"InternalServerError|InternalError|internal error|[Hh]ardware|health check", Reason.INFRA),
    (r"[Ii]nterrupted|[Ss]pot", Reason.PREEMPTED),
    (r"AlgorithmError|ClientError|AccessDenied|ValidationException|ImagePull|CannotPullContainer", Reason.USER_ERROR),
)
_EXIT_CODE = re.compile(r"exit code:?\s*([0-9]{1,3})", re.IGNORECASE)

_Entry = PlainMapping  # a job of DescribeTrainingJob, or a summary of ListTrainingJobs


def status_of(job: _Entry, node_exit_codes: NodeExitCodes, console_url: str) -> ServiceStatus:
    """Convert a job of DescribeTrainingJob to its status."""
    status, secondary = job["TrainingJobStatus"], job.get("SecondaryStatus", "")
    restarts = _restarts(job)
    started = _unix(job.get("TrainingStartTime"))
    ended = _unix(job.get("TrainingEndTime") or job.get("LastModifiedTime"))
    if status == "Failed":
        text = job.get("FailureReason", "")
        code = _EXIT_CODE.search(text)
        outcome = failed_outcome(int(code[1]) if code else None, find_reason(_FAILURES, text), node_exit_codes)
        detail = " ".join(text.split())[:500]
        return ServiceStatus(outcome.state, outcome.reason, outcome.exit_code, started, ended, detail, console_url, restarts)
    row = _STATES.get((status, secondary)) or _STATES.get((status, _ANY))
    if row is None:
        detail = f"SageMaker reports {status}/{secondary}, a status that this version of gpuyard does not know"
        return ServiceStatus(State.UNKNOWN, started_at=started, detail=detail, console_url=console_url, restarts=restarts)
    reason = row.reason
    if reason is Reason.TIMEOUT:
        reason = Reason(job.get("Environment", {}).get("GPUYARD_LIMIT_REASON", reason))
    exit_code = JOB_DONE if row.state is State.SUCCEEDED else None
    ended = ended if row.state.ended else None
    return ServiceStatus(row.state, reason, exit_code, started, ended, row.detail, console_url, restarts)


def summary_status(summary: _Entry, console_url: str) -> ServiceStatus | None:
    """Convert a list entry of a job in progress to its status; None if DescribeTrainingJob must be called.

    A list entry has no start time, so the last change of a running job counts as its start.
    """
    row = _STATES.get((summary["TrainingJobStatus"], summary.get("SecondaryStatus", "")))
    if row is None or row.state not in {State.PENDING, State.RUNNING}:
        return None
    started = _unix(summary.get("LastModifiedTime")) if row.state is State.RUNNING else None
    return ServiceStatus(row.state, started_at=started, detail=row.detail, console_url=console_url)


def _restarts(job: _Entry) -> tuple[Reason, ...]:
    """Return the reason of each restart of the hosts: a spot preemption, or an error of SageMaker itself (RetryStrategy)."""
    history = [transition["Status"] for transition in job.get("SecondaryStatusTransitions", ())]
    found = []
    for before, now in itertools.pairwise(history):
        if now == "Interrupted":
            found.append(Reason.PREEMPTED)
        elif now == "Starting" and before in {"Downloading", "Training", "Uploading"}:
            found.append(Reason.INFRA)
    return tuple(found)


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
