"""A process that dies at a given line of our own, as far as one thread can."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


class Killed(BaseException):
    """The process goes: nothing of ours may catch it."""


def dying_at(line: int, act: Callable[[], Any], ours: tuple[str, ...]) -> int:
    """Run an act of which this thread dies at the n-th line of our own files; how many lines it had when it did not, -1 when it did."""
    seen = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.endswith(ours):
            return None
        if event == "line":
            seen += 1
            if seen == line:
                raise Killed
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except Killed:
        return -1
    finally:
        sys.settrace(before)
    return seen
