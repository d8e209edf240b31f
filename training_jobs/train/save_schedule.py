"""Decides when a save is due, and measures how long saves delay the training loop."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

_SAID_FROM_S = 1.0
_STEPS = 50  # the median of this many steps is the usual time of a step


class Saver(Protocol):
    """The attributes of a CheckpointSaver that the schedule reads."""

    blocked_s: list[float]
    waited_s: float

    @property
    def writing(self) -> int | None:
        """The step whose save is still being written on this rank."""


class SaveSchedule:
    """Decides when one rank saves: every `every_s` seconds, but not while the last save is still being written."""

    def __init__(self, every_s: float, saver: Saver, log: Callable[[str], None]) -> None:
        self._every_s, self._saver, self._log = every_s, saver, log
        self._saved_at, self._announced = time.monotonic(), -1
        self._usual: deque[float] = deque(maxlen=_STEPS)  # seconds of steps without a save in progress
        self.stall_s: list[float] = []  # seconds that each save cost: the loop was blocked, and steps were slower while it was written

    def start(self) -> None:
        """Start to count the time to the first save."""
        self._saved_at = time.monotonic()

    def vote(self) -> bool:
        """Return whether a save is due. While another save is still being written, return False and print this once."""
        if time.monotonic() - self._saved_at <= self._every_s:
            return False
        writing = self._saver.writing
        if writing is None:
            self._saved_at = time.monotonic()  # vote only once
            return True
        if writing != self._announced:
            self._announced = writing
            self._log(f"the save of step {writing} takes longer than checkpoint.every ({self._every_s:g} s); the next save waits for it")
        return False

    def saved(self, step: int) -> None:
        """Count a save that the loop has started. If the loop had to wait long for the previous save, print how long."""
        self._saved_at = time.monotonic()
        self.stall_s.append(self._saver.blocked_s[-1])
        if self._saver.waited_s > _SAID_FROM_S:
            fix = "fix: save less often"
            self._log(f"step {step}: training waited {self._saver.waited_s:.1f} s for the previous save; {fix}")

    @contextlib.contextmanager
    def timing_step(self) -> Iterator[None]:
        """Time a step. If a save is being written meanwhile, the time above a usual step counts as the save's cost."""
        writing, began = self._saver.writing is not None, time.monotonic()
        yield
        passed = time.monotonic() - began
        if not writing:
            self._usual.append(passed)
        elif self._usual:
            self.stall_s[-1] += max(passed - statistics.median(self._usual), 0.0)
