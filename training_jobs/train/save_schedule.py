"""Decides when a save is due, and measures what saves cost the training loop."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

_SAID_FROM_S = 1.0
_STEPS = 50  # whose median is the usual time of a step


class Saver(Protocol):
    """The attributes of a CheckpointSaver that the schedule reads."""

    blocked_s: list[float]
    waited_s: float

    @property
    def writing(self) -> int | None:
        """The step whose save is still being written on this rank."""


class SaveSchedule:
    """The saves of one rank: one every `every_s` seconds, but none while the last one is still being written."""

    def __init__(self, every_s: float, saver: Saver, log: Callable[[str], None]) -> None:
        self._every_s, self._saver, self._log = every_s, saver, log
        self._saved_at, self._announced = time.monotonic(), -1
        self._usual: deque[float] = deque(maxlen=_STEPS)  # seconds of steps while nothing was written
        self.stall_s: list[float] = []  # per save: the loop was blocked, and its steps took longer while the save was written

    def start(self) -> None:
        """Start to count the time to the first save."""
        self._saved_at = time.monotonic()

    def vote(self) -> bool:
        """Return whether a save is due by time. It waits for a save that is still being written, and prints this once per save."""
        if time.monotonic() - self._saved_at <= self._every_s:
            return False
        writing = self._saver.writing
        if writing is None:
            self._saved_at = time.monotonic()  # vote only once
            return True
        if writing != self._announced:
            self._announced = writing
            self._log(f"the save of step {writing} takes longer than checkpoint.every ({self._every_s:g} s): the next one waits for it")
        return False

    def saved(self, step: int) -> None:
        """Count a save that the loop has started. Print how long the loop had to wait for the save before, if that was long."""
        self._saved_at = time.monotonic()
        self.stall_s.append(self._saver.blocked_s[-1])
        if self._saver.waited_s > _SAID_FROM_S:
            fix = "fix: save less often"
            self._log(f"step {step}: training waited {self._saver.waited_s:.1f} s until the save before was written; {fix}")

    @contextlib.contextmanager
    def timing_step(self) -> Iterator[None]:
        """Time a step. The time by which a step is slower than usual while a save is being written counts as a cost of that save."""
        writing, began = self._saver.writing is not None, time.monotonic()
        yield
        passed = time.monotonic() - began
        if not writing:
            self._usual.append(passed)
        elif self._usual:
            self.stall_s[-1] += max(passed - statistics.median(self._usual), 0.0)
