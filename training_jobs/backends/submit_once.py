"""Start a job exactly once at a service whose API takes no idempotency token."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import GpuyardError, LostSightError

__all__ = ["SUBMIT_WINDOW_S", "submit_once"]

T = TypeVar("T")
_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Seconds between two attempts of the call, and between two searches for the job that a call may have started."""
SUBMIT_WINDOW_S = 30.0
"""No call begins more than this many seconds after its run record was written. So the call ends before 60 s, when another submit may
take over the record."""


def submit_once(
    attempt: Callable[[], T],
    find: Callable[[], T | None],
    error_kind: Callable[[BaseException | None], str],
    sleep: Callable[[float], None] = time.sleep,
    *,
    until: float,
) -> T:
    """Call `attempt` until it succeeds or fails permanently, and return its result.

    Temporary refusals are retried. If the service may have started the job, `find` searches for it before the next try. `error_kind`
    is the cloud's table of errors. Raises LostSightError if the result stays unknown, or after `until` (time.monotonic). The next
    submit then searches for the job.
    """
    for pause in (*_PAUSES_S, None):
        if time.monotonic() > until:
            problem = "the service answered too slowly, so the job was not submitted"
            raise LostSightError(f"{problem}; run the same `gpuyard submit` again in a minute")
        try:
            return attempt()
        except GpuyardError as error:
            kind = error_kind(error.__cause__)
            if kind not in {"throttled", "unsent", "server", "lost"} or pause is None:
                raise
        if kind in {"throttled", "unsent"}:
            sleep(pause)
            continue
        found = _search(find, sleep)
        if found is not None:
            return found
        if kind == "lost":
            problem = "the service did not confirm the job and does not list it yet"
            raise LostSightError(f"{problem}; run the same `gpuyard submit` again in a minute to look up the job")
    raise AssertionError("the last attempt returns or raises")


def _search(find: Callable[[], T | None], sleep: Callable[[float], None]) -> T | None:
    for pause in _PAUSES_S[:3]:
        sleep(pause)
        found = find()
        if found is not None:
            return found
    return None
