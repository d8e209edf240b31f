"""The stop request of a node. SIGTERM or a preemption notice sets a deadline and creates a file that the workers' hook reads."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from types import FrameType

__all__ = ["StopRequest"]

_SHORTEST_S, _LONGEST_S = 2.0, 600.0
"""Bounds, in seconds, of the time that workers get to save. After a long notice, the upper bound limits the cost of workers that hang."""


class StopRequest:
    """A stop of this node. `deadline`: when its workers are killed (monotonic clock); infinite while no stop is requested."""

    def __init__(self, stop_file: Path, grace_s: float) -> None:
        self.stop_file = stop_file
        self.grace_s = grace_s
        self.deadline = math.inf
        self._sigterm_before_s = 0.0

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self.deadline < math.inf

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; infinite while no stop was requested."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def overdue(self) -> bool:
        """Whether to send SIGTERM to the workers now: the deadline is near, or the workers never call the hook."""
        if not self.requested:
            return False
        polls_hook = self.stop_file.with_name("listens").exists()
        return not polls_hook or self.seconds_left < self._sigterm_before_s

    @property
    def kill_grace_s(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""
        return max(0.5, (self.seconds_left if self.requested else self.grace_s) - 1.0)

    def install_signal_handlers(self) -> None:
        """Make SIGTERM and SIGINT request a stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def request(self, seconds: float | None = None) -> None:
        """Request a stop within `seconds`; default: the grace period. A later request can shorten the time, but not extend it."""
        seconds = self.grace_s if seconds is None else min(max(seconds, _SHORTEST_S), _LONGEST_S)
        deadline = time.monotonic() + seconds
        if deadline >= self.deadline:
            return
        self.deadline, self._sigterm_before_s = deadline, min(5.0, seconds / 2)
        temporary = self.stop_file.with_name(f"{self.stop_file.name}.new")
        try:
            temporary.write_text(f"{deadline:.3f}", encoding="ascii")
            temporary.replace(self.stop_file)  # atomic: workers read it at any moment
        except OSError:
            self.stop_file.touch()  # an empty file still means stop, even on a full disk

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.request()
