"""Read the logs of a run: wait until its nodes have started, and select the lines of one attempt."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..backends.base import LogLine
from ..errors import UsageError
from ..state import State
from ..status import Attempt
from .handle import RunHandle
from .journal import RunRecord, Submission

__all__ = ["LogWindow", "attempt_lines", "log_window", "wait_for_nodes"]

_RESTART_S = 2.0
"""Shortest time between the last line of an attempt and the first line of the next one in the same job."""


@dataclass(frozen=True)
class LogWindow:
    """The log lines of one attempt: those of the submission's job between two Unix times. None: no bound."""

    submission: Submission
    since: float | None
    until: float | None


def log_window(record: RunRecord, attempts: Sequence[Attempt], number: int) -> LogWindow:
    """Return the log window of attempt `number`, one of `attempts` (all attempts of the run, in order).

    A service that restarts a job keeps one log for all its attempts. Times separate the attempts: an attempt's end, or the start of the
    next attempt if a lost node recorded no end.
    """
    submission = max((each for each in record.submissions if each.attempt <= number), key=lambda each: each.attempt)
    following = min((each.attempt for each in record.submissions if each.attempt > number), default=None)
    same_job = [each for each in attempts if each.attempt >= submission.attempt and (following is None or each.attempt < following)]
    index = [each.attempt for each in same_job].index(number)
    bounds = [earlier.ended_at or later.started_at for earlier, later in itertools.pairwise(same_job)]
    return LogWindow(submission, bounds[index - 1] if index else None, bounds[index] if index < len(bounds) else None)


def attempt_lines(handle: RunHandle, attempt: int, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
    """Yield the lines of one attempt. Raises UsageError for an unknown attempt."""
    attempts = handle.status().attempts
    numbers = [each.attempt for each in attempts]
    if attempt not in numbers:
        allowed = ", ".join(str(number) for number in numbers)
        raise UsageError(f"--attempt: run {handle.record.run_id} has no such attempt, got {attempt}, allowed: {allowed}")
    window = log_window(handle.record, attempts, attempt)
    if (job_id := handle.job_id_of(window.submission)) is None:
        return
    begin = max((moment for moment in (since, window.since) if moment is not None), default=None)
    until, previous = window.until, begin or 0.0
    for line in handle.backend.logs(job_id, node=node, since=begin, follow=follow and until is None):
        if follow and until is None and line.time - previous > _RESTART_S:  # the service may have started the job again
            until = log_window(handle.record, handle.status().attempts, attempt).until
        previous = line.time
        if until is None or line.time <= until:
            yield line
        elif follow:
            return


def wait_for_nodes(find: Callable[[], RunHandle], on_wait: Callable[[str], None], sleep: Callable[[float], None]) -> None:
    """Return when the newest submission's first attempt no longer waits for nodes. `find` reads the run again.

    `on_wait` gets the reason for waiting, and again when it changes.
    """
    reason = None
    while True:
        handle = find()
        status = handle.status()
        if status.state is not State.PENDING or status.attempt != handle.record.last.attempt:
            return
        if status.detail and status.detail != reason:
            reason = status.detail
            on_wait(reason)
        sleep(handle.backend.poll_s)
