"""Make a call that starts a job exactly once, at a service whose call takes no idempotency token."""

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
"""A call may begin at most this many seconds after its run record was written. With the duration of the call this stays below the 60 s
after which another submit takes the record over and searches for the job."""


def submit_once(
    attempt: Callable[[], T],
    find: Callable[[], T | None],
    error_kind: Callable[[BaseException | None], str],
    sleep: Callable[[float], None] = time.sleep,
    *,
    until: float,
) -> T:
    """Call `attempt` until it succeeds or is refused for good, and return its result.

    A call that the service refused temporarily is repeated. After a call that the service may have carried out, `find` searches for
    the job first. `error_kind` is the cloud's table of errors. Raises LostSightError when the result stays unknown, and when `until`
    (time.monotonic) has passed: the run record exists then, and the next submit searches again.
    """
    for pause in (*_PAUSES_S, None):
        if time.monotonic() > until:
            raise LostSightError("the service answered too slowly, so the job was not submitted; submit again in a minute")
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
            problem = "the service never answered whether it accepted the job, and does not list it yet"
            raise LostSightError(f"{problem}; submit again in a minute: the next submit looks it up")
    raise AssertionError("the last attempt returns or raises")


def _search(find: Callable[[], T | None], sleep: Callable[[float], None]) -> T | None:
    for pause in _PAUSES_S[:3]:
        sleep(pause)
        found = find()
        if found is not None:
            return found
    return None
