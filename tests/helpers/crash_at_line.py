"""A process that dies at a given line of our own, as far as one thread can."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

_HOLDS_A_LOCK = ("_client", "_locked")  # functions whose lock goes with a process, but stays with an exception


class Killed(BaseException):
    """The process goes: nothing of ours may catch it."""


class Ran(NamedTuple):
    """How far an act came."""

    lines: int
    """Of our own files."""
    died_at: str | None
    """File and line; None: it came to its end."""


def dying_at(line: int, act: Callable[[], Any], ours: tuple[str, ...]) -> Ran:
    """Run an act of which this thread dies at the n-th line of our own files; 0: at none."""
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
                raise Killed
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except Killed:
        pass
    finally:
        sys.settrace(before)
    return Ran(seen, died_at)
