"""SageMaker's statuses and failure reasons in our words: two tables, and UNKNOWN for what is in neither. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...state import JOB_DONE, Reason, State, classify
from ..base import ServiceStatus

_ANY = "*"


@dataclass(frozen=True)
class _Meaning:
    state: State
    reason: Reason | None = None
    detail: str | None = None


_STATES: dict[tuple[str, str], _Meaning] = {
    ("InProgress", "Starting"): _Meaning(State.PENDING, detail="machines are being started"),
    ("InProgress", "Pending"): _Meaning(State.PENDING, detail="waits for machines"),
    ("InProgress", "LaunchingMLInstances"): _Meaning(State.PENDING, detail="machines are being started"),
    ("InProgress", "PreparingTrainingStack"): _Meaning(State.PENDING, detail="machines are being prepared"),
    ("InProgress", "Downloading"): _Meaning(State.RUNNING, detail="downloads its input"),
    ("InProgress", "DownloadingTrainingImage"): _Meaning(State.RUNNING, detail="downloads its image"),
    ("InProgress", "Training"): _Meaning(State.RUNNING),
    ("InProgress", "Uploading"): _Meaning(State.RUNNING, detail="uploads its output"),
    ("InProgress", "Updating"): _Meaning(State.RUNNING),
    ("InProgress", "Interrupted"): _Meaning(State.RECOVERING, detail="spot machines were taken; SageMaker waits for others"),
    ("InProgress", "Restarting"): _Meaning(State.RECOVERING, detail="SageMaker starts it again"),
    ("Stopping", _ANY): _Meaning(State.RUNNING, detail="stopping"),
    ("Completed", "Completed"): _Meaning(State.SUCCEEDED),
    ("Stopped", "Stopped"): _Meaning(State.CANCELLED),
    ("Stopped", "MaxRuntimeExceeded"): _Meaning(State.FAILED, Reason.TIMEOUT, "the time limit was reached"),
    ("Stopped", "MaxWaitTimeExceeded"): _Meaning(State.FAILED, Reason.CAPACITY, "no spot machines for long enough within the longest wait"),
    ("Stopped", "Interrupted"): _Meaning(State.STOPPED, Reason.PREEMPTED, "spot machines were taken"),
}

# FailureReason is text. The first row that is found in it decides; a code of the container's own is looked for before.
_FAILURES: tuple[tuple[str, Reason], ...] = (
    (r"CapacityError|InsufficientInstanceCapacity|MaxPendingTime|[Uu]nable to provision requested ML compute capacity", Reason.CAPACITY),
    (r"ResourceLimitExceeded|account-level service limit", Reason.QUOTA),
    (r"InternalServerError|InternalError|internal error|[Hh]ardware|health check", Reason.INFRA),
    (r"[Ii]nterrupted|[Ss]pot", Reason.PREEMPTED),
    (r"AlgorithmError|ClientError|AccessDenied|ValidationException|ImagePull|CannotPullContainer", Reason.USER_ERROR),
)
_EXIT_CODE = re.compile(r"exit code:?\s*([0-9]{1,3})", re.IGNORECASE)


def status_of(job: Mapping[str, Any], exit_codes: Callable[[], list[int | None]], console_url: str) -> ServiceStatus:
    """What a description means. `exit_codes` is asked for what the nodes left only where the service's own text does not tell."""
    status, secondary = job["TrainingJobStatus"], job.get("SecondaryStatus", "")
    restarts = _restarts(job)
    started = _unix(job.get("TrainingStartTime"))
    ended = _unix(job.get("TrainingEndTime") or job.get("LastModifiedTime"))
    if status == "Failed":
        said = job.get("FailureReason", "")
        state, reason, code = _failed(said, exit_codes)
        return ServiceStatus(state, reason, code, started, ended, " ".join(said.split())[:500], console_url, restarts)
    found = _STATES.get((status, secondary)) or _STATES.get((status, _ANY))
    if found is None:
        detail = f"SageMaker says {status}/{secondary}, which this version does not know"
        return ServiceStatus(State.UNKNOWN, started_at=started, detail=detail, console_url=console_url, restarts=restarts)
    reason = found.reason
    if reason is Reason.TIMEOUT:
        reason = Reason(job.get("Environment", {}).get("GPUYARD_LIMIT_REASON", reason))
    code = JOB_DONE if found.state is State.SUCCEEDED else None
    return ServiceStatus(found.state, reason, code, started, ended if found.state.ended else None, found.detail, console_url, restarts)


def of_summary(summary: Mapping[str, Any], console_url: str) -> ServiceStatus | None:
    """What a list tells of a job in progress; None where that is not enough. It runs since its last change, at the latest."""
    found = _STATES.get((summary["TrainingJobStatus"], summary.get("SecondaryStatus", "")))
    if found is None or found.state not in {State.PENDING, State.RUNNING}:
        return None
    started = _unix(summary.get("LastModifiedTime")) if found.state is State.RUNNING else None
    return ServiceStatus(found.state, started_at=started, detail=found.detail, console_url=console_url)


def _restarts(job: Mapping[str, Any]) -> tuple[Reason, ...]:
    """Why SageMaker started the hosts anew, each time: its spot machines were taken, or it met an error of its own (RetryStrategy)."""
    history = [transition["Status"] for transition in job.get("SecondaryStatusTransitions", ())]
    found = []
    for before, now in itertools.pairwise(history):
        if now == "Interrupted":
            found.append(Reason.PREEMPTED)
        elif now == "Starting" and before in {"Downloading", "Training", "Uploading"}:
            found.append(Reason.INFRA)
    return tuple(found)


def _failed(text: str, exit_codes: Callable[[], list[int | None]]) -> tuple[State, Reason | None, int | None]:
    said = _EXIT_CODE.search(text)
    if said:
        outcome = classify([int(said[1])])
        return outcome.state, outcome.reason, outcome.exit_code
    reason = next((reason for pattern, reason in _FAILURES if re.search(pattern, text)), None)
    if reason in {None, Reason.USER_ERROR, Reason.INFRA}:
        left = [code for code in exit_codes() if code not in (None, JOB_DONE)]
        if left:
            outcome = classify(list(left))
            return outcome.state, outcome.reason, outcome.exit_code
    if reason is Reason.PREEMPTED:
        return State.STOPPED, reason, None
    return State.FAILED, reason or Reason.UNKNOWN, None


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
