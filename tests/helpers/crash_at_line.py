"""Simulates a process that crashes at a given line of our own code, as far as one thread can."""

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
    """Executed lines of our own files."""
    died_at: str | None
    """File and line of the crash, None if the call returned."""


def crash_at(line: int, act: Callable[[], Any], ours: tuple[str, ...]) -> CrashResult:
    """Call a function and crash it at the n-th line of our own files. 0: do not crash."""
    seen, died_at = 0, None

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen, died_at
        code = frame.f_code
        if not code.co_filename.endswith(ours) or code.co_name in _HOLDS_A_LOCK:
            return None
        if event == "line":
            seen += 1
            if seen == line:
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
    return CrashResult(seen, died_at)
