"""Wait for a condition. Only a failing test waits until the limit, so the limit can be long for slow machines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

WAIT_LIMIT_S = 300.0
_T = TypeVar("_T")


def wait_for(
    condition: Callable[[], _T | None],
    details: Callable[[], object] = str,
    *,
    limit_s: float = WAIT_LIMIT_S,
    ignored: tuple[type[Exception], ...] = (),
) -> _T:
    """Return the first true result of `condition`. `details`: added to the failure. `ignored`: exceptions that count as not met."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            if found := condition():
                return found
        except ignored:
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"the condition was not met within {limit_s:.0f} s; {details()}")
        time.sleep(0.02)
