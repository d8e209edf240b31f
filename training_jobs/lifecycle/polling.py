"""The wait for a run's end: asks ever less often, survives what passes, and never takes lost sight for an end."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..errors import AuthError, GpuyardError, LostSightError
from ..state import State
from ..status import RunStatus
from ..store import ChangedError
from .handle import Case

BLIND_PATIENCE_S = 300.0
"""How long a wait goes on while nothing can be learned."""


def wait_for(
    find: Callable[[], Case], on_status: Callable[[RunStatus], None], clock: Callable[[], float], sleep: Callable[[float], None]
) -> RunStatus:
    """What Runner.wait promises. `find` reads the run anew."""
    seen, pause = False, 0.1
    blind_since: float | None = None
    while True:
        try:
            case = find()
            status = case.status()
            on_status(status)
            if status.state.ended and not _resumed(case):
                return status
            seen, pause = True, min(pause * 1.5, case.backend.poll_s * 5)
            lost: RunStatus | GpuyardError | None = None if status.state is not State.UNKNOWN else status
        except (LostSightError, AuthError) as error:
            if isinstance(error, AuthError) and not seen:
                raise  # never had the right to look; later it is the sight of the job that is lost
            lost = error
        if lost is None:
            blind_since = None
        elif blind_since is None:
            blind_since = clock()
        elif clock() - blind_since > BLIND_PATIENCE_S:
            return _given_up(lost)
        sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 jitter, so that many waits do not ask at once


def _given_up(lost: RunStatus | GpuyardError) -> RunStatus:
    if isinstance(lost, RunStatus):
        return lost
    raise lost if isinstance(lost, LostSightError) else LostSightError(f"{lost}; the job may still run") from lost


def _resumed(case: Case) -> bool:
    """Whether a run that ended goes on, by us or by somebody who was quicker."""
    try:
        return case.resume()
    except ChangedError:
        return True
