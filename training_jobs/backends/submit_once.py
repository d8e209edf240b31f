"""A call that must not happen twice, at a service that takes no token of the caller's by which to know it again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import GpuyardError, LostSightError

T = TypeVar("T")
_AGAIN_S = (1.0, 2.0, 4.0, 8.0)
"""Between the tries of a call that starts something, and between the looks for what it may have started."""
WITHIN_S = 30.0
"""How long after its record was written a call may still be begun: with the time it takes that is less than the 60 s after
which another submit takes the record over and looks for what is there by then."""


def once(
    attempt: Callable[[], T],
    find: Callable[[], T | None],
    error_kind: Callable[[BaseException | None], str],
    sleep: Callable[[float], None] = time.sleep,
    *,
    until: float,
) -> T:
    """Make a call that starts something and carries no token of its own, so that it starts it once.

    `error_kind` is the cloud's table of errors, told the cause of the one that was raised. A call that was refused is made again.
    After an answer that says nothing, or that never came, `find` looks whether it was made all the same. Raises
    LostSightError where that stays open, and where it is `until` (monotonic) already: the record of the run is there, and
    the next submit looks again.
    """
    for pause in (*_AGAIN_S, None):
        if time.monotonic() > until:
            raise LostSightError("the service was too slow to be asked for the job; submit again in a minute")
        try:
            return attempt()
        except GpuyardError as error:
            kind = error_kind(error.__cause__)
            if kind not in {"throttled", "unsent", "server", "lost"} or pause is None:
                raise
        if kind in {"throttled", "unsent"}:
            sleep(pause)
            continue
        found = _look(find, sleep)
        if found is not None:
            return found
        if kind == "lost":
            text = "the service never answered whether it took the job, and does not list it yet; submit again in a minute: it is looked up"
            raise LostSightError(text)
    raise AssertionError("the last try returns or raises")


def _look(find: Callable[[], T | None], sleep: Callable[[float], None]) -> T | None:
    for pause in _AGAIN_S[:3]:
        sleep(pause)
        found = find()
        if found is not None:
            return found
    return None
