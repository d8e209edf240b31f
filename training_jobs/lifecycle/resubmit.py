"""Decide what a submit does with an existing run: the resubmit table and the count of retries. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from ...problems import Problem
from ..backends.base import ServiceStatus
from ..errors import ConflictError
from ..run import canonical, difference
from ..run_layout import record_path, run_path
from ..spec import JobSpec, Retries
from ..state import JOB_BAD_CONFIG, Reason, State
from .journal import RunRecord, Submission

__all__ = ["TAKE_OVER_AFTER_S", "Action", "Choice", "apply_allowance", "decide", "has_retry_left", "retries_left", "stranger"]

TAKE_OVER_AFTER_S = 60.0


class Action(Enum):
    """What a submit does with an existing run."""

    ADOPT = "adopt"
    POLL = "poll"
    TAKE_OVER = "take over"
    NEXT = "next attempt"


@dataclass(frozen=True)
class Choice:
    """The chosen action, the note for the user, and whether to reset the time limit and the retry counts."""

    action: Action
    note: str = ""
    fresh: bool = False


def decide(
    record: RunRecord,
    status: ServiceStatus | None,
    spec: JobSpec,
    code_digest: str,
    *,
    retry: bool,
    age_s: float,
    emptied: bool = False,
) -> Choice:
    """Return the action of the resubmit table (docs/job.md, "Submit again").

    `status` is None while the record has no service id. `age_s` is the record's age in seconds. `emptied`: the run succeeded, and
    its folder was removed later. Raises ConflictError for an emptied run, and for another spec or other code unless `retry` allows
    the change.
    """
    state = status.state if status is not None else None
    can_retry = state in {State.FAILED, State.CANCELLED, State.STOPPED}
    if not (retry and can_retry):
        _refuse_another_job(record, spec, code_digest, retry=retry)
    if emptied:
        raise ConflictError(
            f"run {record.run_id} succeeded, but its folder {run_path(record.run_id)}/ was removed from the run bucket; to run the job "
            f"again use {'another --request-key' if record.request_key else '--again'}, or remove {record_path(record.run_id)} too"
        )
    if status is None:
        return (
            Choice(Action.POLL) if age_s < TAKE_OVER_AFTER_S else Choice(Action.TAKE_OVER, "taken over from a submit that did not finish")
        )
    if retry and can_retry:
        return Choice(Action.NEXT, f"retried after {status.state}", fresh=True)
    if status.state is State.STOPPED:
        return Choice(Action.NEXT, "resumed from the newest checkpoint")
    if status.state in {State.FAILED, State.CANCELLED}:
        hint = "--retry starts the next attempt" + ("" if record.request_key else ", --again starts a new run")
        return Choice(Action.ADOPT, f"adopted: it is {status.state} ({status.reason or 'on request'}); {hint}")
    return Choice(Action.ADOPT, f"adopted: it is {status.state}")


def stranger(submitter: str | None, own: str | None) -> str:
    """Return a text that names the submitter of an existing run. Empty if this process has the same identity."""
    return "" if submitter == own else f"; the run was submitted by {submitter or 'an unknown principal'}"


def _refuse_another_job(record: RunRecord, spec: JobSpec, code_digest: str, *, retry: bool) -> None:
    last = record.last
    problems = []
    if canonical(spec) != canonical(last.spec):
        problems += difference(canonical(last.spec), canonical(spec))
    if code_digest != last.code_digest:
        problems.append(Problem("code", f"was {last.code_digest[:12]}, is {code_digest[:12]} (sha256 of its files)"))
    if problems:
        first = "wait until it has ended, then use" if retry else "use another key, or"
        fix = f"{first} --retry to continue this run with the new spec"
        raise ConflictError(f"run {record.run_id} (key {record.request_key!r}) is bound to another job; {fix}", problems)


_GROUPS = {Reason.PREEMPTED: "preempted", Reason.INFRA: "infra", Reason.FABRIC: "infra", Reason.USER_ERROR: "user_error"}


def has_retry_left(record: RunRecord, reason: Reason | None, restarts: Sequence[Reason] = ()) -> bool:
    """Return whether `retries` allows another attempt after an end for this reason.

    Restarts by the service count too. `restarts`: restarts of the newest submission, if its end is not recorded yet.
    """
    if reason not in _GROUPS:
        return False
    group = _GROUPS[reason]
    ends = _ends(record.current, group) + sum(_GROUPS.get(restart) == group for restart in restarts)
    allowed: int = getattr(record.last.spec.retries, group)
    return ends <= allowed if record.last.ended is not None else ends < allowed


def retries_left(record: RunRecord) -> Retries:
    """Return the retries that are left: the spec's retries minus the retries that earlier submissions used."""
    retries = record.last.spec.retries
    remaining = {group: max(0, getattr(retries, group) - _ends(record.current[:-1], group)) for group in set(_GROUPS.values())}
    return Retries(**remaining)


def _ends(submissions: Sequence[Submission], group: str) -> int:
    reasons = [reason for submission in submissions if submission.ended for reason in (*submission.ended.restarts, submission.ended.reason)]
    return sum(reason is not None and _GROUPS.get(reason) == group for reason in reasons)


def apply_allowance(status: ServiceStatus, record: RunRecord) -> ServiceStatus:
    """Change FAILED to STOPPED (resumable) if a retry is left for its reason. A bad configuration stays FAILED."""
    failed = status.state is State.FAILED and status.exit_code != JOB_BAD_CONFIG
    return replace(status, state=State.STOPPED) if failed and has_retry_left(record, status.reason, status.restarts) else status
