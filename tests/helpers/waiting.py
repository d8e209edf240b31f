"""Waits for a condition on a machine of any speed: only a failing test waits for long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 300.0
_T = TypeVar("_T")


def wait_for(
    what: Callable[[], _T | None],
    say: Callable[[], object] = str,
    *,
    limit_s: float = PATIENCE_S,
    not_yet: tuple[type[Exception], ...] = (),
) -> _T:
    """Return the first truthy value. `say`: added to the failure. `not_yet`: exceptions to ignore while waiting."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            if found := what():
                return found
        except not_yet:
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come true in {limit_s:.0f} s; {say()}")
        time.sleep(0.02)
