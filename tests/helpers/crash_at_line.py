"""Simulate a process that crashes at a given line of product code, as far as one thread can."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

_HOLDS_A_LOCK = ("_client", "_locked")  # functions that hold a lock: a dying process releases it, an exception does not


class SimulatedCrash(BaseException):
    """The simulated end of the process. Product code must not catch it."""


class CrashResult(NamedTuple):
    """The progress of a call."""

    lines: int
    """Executed lines of the product files."""
    died_at: str | None
    """File and line of the crash, None if the call returned."""


def crash_at(line: int, act: Callable[[], Any], product_files: tuple[str, ...]) -> CrashResult:
    """Call `act` and crash it at the n-th executed line of `product_files`; with 0 do not crash it."""
    executed, died_at = 0, None

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal executed, died_at
        code = frame.f_code
        if not code.co_filename.endswith(product_files) or code.co_name in _HOLDS_A_LOCK:
            return None
        if event == "line":
            executed += 1
            if executed == line:
                died_at = f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
                raise SimulatedCrash
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except SimulatedCrash:
        pass
    finally:
        sys.settrace(before)
    return CrashResult(executed, died_at)
