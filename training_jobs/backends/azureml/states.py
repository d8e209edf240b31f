"""Azure ML's statuses and errors in our words: two tables, and UNKNOWN for what is in neither. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...state import JOB_DONE, Reason, State, classify
from ..base import ServiceStatus
from .request import seconds_of


@dataclass(frozen=True)
class _Meaning:
    state: State
    detail: str | None = None


_STATES: dict[str, _Meaning] = {
    "NotStarted": _Meaning(State.PENDING, "accepted"),
    "Starting": _Meaning(State.PENDING, "being started"),
    "Provisioning": _Meaning(State.PENDING, "machines are being made"),
    "Preparing": _Meaning(State.PENDING, "its image is being prepared"),
    "Queued": _Meaning(State.PENDING, "waits for the cluster's nodes"),
    "Running": _Meaning(State.RUNNING),
    "Finalizing": _Meaning(State.RUNNING, "its output is collected"),
    "CancelRequested": _Meaning(State.RUNNING, "being cancelled"),
    "NotResponding": _Meaning(State.UNKNOWN, "its nodes have not been heard of; they may be again"),
    "Completed": _Meaning(State.SUCCEEDED),
    "Failed": _Meaning(State.FAILED),
    "Canceled": _Meaning(State.CANCELLED),
}
ENDED = frozenset({"Completed", "Failed", "Canceled"})
_SLACK_S = 1.0  # the service's times are rounded

# An error is a code and text. The first row that is found in them decides; a code of the job's own is looked for before.
_FAILURES: tuple[tuple[str, Reason], ...] = (
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


def status_of(
    status: str, run: Mapping[str, Any], asked: Mapping[str, Any], exit_codes: Callable[[], list[int | None]], starts: int, console_url: str
) -> ServiceStatus:
    """What a job's status means, with what the run history tells of it: times, and an error.

    `asked`: the job's limits and variables. `exit_codes` is asked for what the nodes left only where the error does not tell.
    `starts`: how often its nodes began, where that is known: low-priority nodes that were taken are replaced by the service.
    """
    started, ended = unix(run.get("startTimeUtc")), unix(run.get("endTimeUtc"))
    found = _STATES.get(status)
    if found is None:
        detail = f"Azure ML says {status}, which this version does not know"
        return ServiceStatus(State.UNKNOWN, started_at=started, detail=detail, console_url=console_url)
    waits_again = found.state is State.PENDING and starts > 0
    restarts = (Reason.PREEMPTED,) * (starts if waits_again else max(starts - 1, 0))
    if waits_again:
        return ServiceStatus(
            State.RECOVERING, None, None, started, None, "its nodes were taken; it waits for others", console_url, restarts
        )
    if status == "Failed":
        error = run.get("error") or {}
        error = error.get("error") or error
        state, reason, code = _failed(f"{error.get('code', '')}: {error.get('message', '')}", exit_codes)
        text = " ".join(word.split("?", 1)[0] for word in str(error.get("message", "")).split())  # no signature of a signed URL
        return ServiceStatus(state, reason, code, started, ended, text[:500] or None, console_url, restarts)
    if status == "Canceled" and _ran_out(asked, started, ended):
        reason = Reason(asked.get("environmentVariables", {}).get("GPUYARD_LIMIT_REASON", Reason.TIMEOUT))
        return ServiceStatus(State.FAILED, reason, None, started, ended, "the time limit was reached", console_url, restarts)
    code = JOB_DONE if found.state is State.SUCCEEDED else None
    started = None if found.state is State.PENDING else started
    return ServiceStatus(found.state, None, code, started, ended if found.state.ended else None, found.detail, console_url, restarts)


def _ran_out(asked: Mapping[str, Any], started: float | None, ended: float | None) -> bool:
    """Azure ML cancels what runs too long, and says no more of it than of any other that was cancelled."""
    limit = seconds_of((asked.get("limits") or {}).get("timeout") or "")
    return bool(limit) and started is not None and ended is not None and ended - started >= limit - _SLACK_S


def _failed(text: str, exit_codes: Callable[[], list[int | None]]) -> tuple[State, Reason | None, int | None]:
    said = _EXIT_CODE.search(text)
    if said:
        number = int(said[1])
        outcome = classify([128 - number if number < 0 else number])
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


def unix(moment: str | None) -> float | None:
    """Unix time of what the run history writes; None for nothing."""
    if not moment:
        return None
    digits = re.sub(r"(\.\d{6})\d+", r"\1", moment)  # seven digits, as .NET writes them
    at = datetime.fromisoformat(digits)
    return (at if at.tzinfo else datetime.fromisoformat(f"{digits}+00:00")).timestamp()
