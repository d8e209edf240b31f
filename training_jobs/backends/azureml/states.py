"""Translate Azure ML's statuses and errors into gpuyard's states and reasons. A status that is not in the table becomes UNKNOWN."""

from __future__ import annotations

import re
from datetime import datetime

from ...clouds import Json
from ...state import JOB_DONE, Reason, State
from ..base import ServiceStatus
from ..state_tables import FailureTable, NodeExitCodes, StateRow, failed_outcome, find_reason
from .request import parse_duration

__all__ = ["ENDED", "status_of", "unix_time"]

_STATES: dict[str, StateRow] = {
    "NotStarted": StateRow(State.PENDING, "accepted"),
    "Starting": StateRow(State.PENDING, "being started"),
    "Provisioning": StateRow(State.PENDING, "machines are being created"),
    "Preparing": StateRow(State.PENDING, "its image is being prepared"),
    "Queued": StateRow(State.PENDING, "waits for the cluster's nodes"),
    "Running": StateRow(State.RUNNING),
    "Finalizing": StateRow(State.RUNNING, "its output is being collected"),
    "CancelRequested": StateRow(State.RUNNING, "being cancelled"),
    "NotResponding": StateRow(State.UNKNOWN, "its nodes do not respond; they may recover"),
    "Completed": StateRow(State.SUCCEEDED),
    "Failed": StateRow(State.FAILED),
    "Canceled": StateRow(State.CANCELLED),
}
ENDED = frozenset({"Completed", "Failed", "Canceled"})
_SLACK_S = 1.0  # Azure ML rounds its times

# An error has a code and a text. If the text contains an exit code, that decides; else this table does.
_FAILURES: FailureTable = (
    (r"[Pp]reempt|[Ee]vict|[Ll]ow.?[Pp]riority", Reason.PREEMPTED),
    (r"[Qq]uota", Reason.QUOTA),
    (r"AllocationFailed|[Aa]llocation fail|OutOfCapacity|[Nn]ot enough capacity|SkuNotAvailable|[Ii]nsufficient capacity", Reason.CAPACITY),
    (r"UserError|ImagePull|ImageBuild|AuthorizationError|AccessDenied", Reason.USER_ERROR),
    (
        r"SystemError|ServiceError|[Ii]nternal (server )?error|[Nn]ode.{0,40}(unusable|unreachable|unhealthy|lost|failed)|[Hh]ardware",
        Reason.INFRA,
    ),
)
_EXIT_CODE = re.compile(r"(?:exited with|exit|status|return) (?:status )?code:?\s*(-?[0-9]{1,3})", re.IGNORECASE)


def status_of(status: str, run: Json, properties: Json, node_exit_codes: NodeExitCodes, starts: int, console_url: str) -> ServiceStatus:
    """Return the status of a job.

    `run` is its entry in the run history, with times and an error. `properties` has the limits and variables of its submission.
    `starts`: how often its nodes started, 0 = unknown. Azure ML itself replaces preempted low-priority nodes.
    """
    started, ended = unix_time(run.get("startTimeUtc")), unix_time(run.get("endTimeUtc"))
    row = _STATES.get(status)
    if row is None:
        detail = f"Azure ML reports {status}, a status that this version of gpuyard does not know"
        return ServiceStatus(State.UNKNOWN, started_at=started, detail=detail, console_url=console_url)
    recovering = row.state is State.PENDING and starts > 0
    restarts = (Reason.PREEMPTED,) * (starts if recovering else max(starts - 1, 0))
    if recovering:
        detail = "its nodes were preempted; it waits for new nodes"
        return ServiceStatus(State.RECOVERING, None, None, started, None, detail, console_url, restarts)
    if status == "Failed":
        error = run.get("error") or {}
        error = error.get("error") or error
        text = f"{error.get('code', '')}: {error.get('message', '')}"
        outcome = failed_outcome(_exit_code(text), find_reason(_FAILURES, text), node_exit_codes)
        message = " ".join(word.split("?", 1)[0] for word in str(error.get("message", "")).split())  # without signatures of URLs
        reason, code = outcome.reason, outcome.exit_code
        return ServiceStatus(outcome.state, reason, code, started, ended, message[:500] or None, console_url, restarts)
    if status == "Canceled" and _is_overtime(properties, started, ended):
        limit_reason = Reason(properties.get("environmentVariables", {}).get("GPUYARD_LIMIT_REASON", Reason.TIMEOUT))
        return ServiceStatus(State.FAILED, limit_reason, None, started, ended, "the time limit was reached", console_url, restarts)
    code = JOB_DONE if row.state is State.SUCCEEDED else None
    started = None if row.state is State.PENDING else started
    return ServiceStatus(row.state, None, code, started, ended if row.state.ended else None, row.detail, console_url, restarts)


def _is_overtime(properties: Json, started: float | None, ended: float | None) -> bool:
    """Return whether a cancelled job ran until its time limit. Azure ML gives no reason when it cancels such a job."""
    limit = parse_duration((properties.get("limits") or {}).get("timeout") or "")
    return bool(limit) and started is not None and ended is not None and ended - started >= limit - _SLACK_S


def _exit_code(text: str) -> int | None:
    """Return the exit code in an error's text. A signal -N becomes 128 + N."""
    found = _EXIT_CODE.search(text)
    if found is None:
        return None
    number = int(found[1])
    return 128 - number if number < 0 else number


def unix_time(moment: str | None) -> float | None:
    """Convert a time of the run history to Unix time; None stays None."""
    if not moment:
        return None
    digits = re.sub(r"(\.\d{6})\d+", r"\1", moment)  # .NET writes seven digits, Python reads six
    at = datetime.fromisoformat(digits)
    return (at if at.tzinfo else datetime.fromisoformat(f"{digits}+00:00")).timestamp()
