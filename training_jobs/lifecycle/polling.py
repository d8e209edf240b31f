"""Wait for a run's end: poll with back-off and continue through outages. An unreachable service never counts as an end."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..errors import AuthError, GpuyardError, LostSightError
from ..state import State
from ..status import RunStatus
from ..store import ChangedError
from .handle import RunHandle

__all__ = ["LOST_SIGHT_AFTER_S", "resumed", "wait_for"]

LOST_SIGHT_AFTER_S = 300.0
"""Seconds for which a wait continues while neither the record nor the service can be read."""


def wait_for(
    find: Callable[[], RunHandle], on_status: Callable[[RunStatus], None], elapsed: Callable[[], float], sleep: Callable[[float], None]
) -> RunStatus:
    """Wait for a run's end, as Runner.wait describes. `find` reads the run from the journal. `elapsed` and `sleep` are in seconds."""
    read_once, pause = False, 0.1
    unreadable_since: float | None = None
    while True:
        try:
            handle = find()
            status = handle.status(enforce=True)
            on_status(status)
            if status.state.ended and not resumed(handle):
                return status
            read_once, pause = True, min(pause * 1.5, handle.backend.poll_s * 5)
            lost: RunStatus | GpuyardError | None = None if status.state is not State.UNKNOWN else status
        except (LostSightError, AuthError) as error:
            if isinstance(error, AuthError) and not read_once:
                raise  # at the first read: no permission. Later: expired credentials, which may be renewed
            lost = error
        if lost is None:
            unreadable_since = None
        elif unreadable_since is None:
            unreadable_since = elapsed()
        elif elapsed() - unreadable_since > LOST_SIGHT_AFTER_S:
            return _give_up(lost)
        sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 jitter spreads many waits


def _give_up(lost: RunStatus | GpuyardError) -> RunStatus:
    if isinstance(lost, RunStatus):
        return lost
    raise lost if isinstance(lost, LostSightError) else LostSightError(f"{lost}; the job may still run") from lost


def resumed(handle: RunHandle) -> bool:
    """Start the next attempt of an ended run if a retry is left. Returns whether the run continues."""
    try:
        return handle.resume()
    except ChangedError:
        return True
