"""The request to stop: SIGTERM or the cloud's notice becomes a file that the workers' hook sees, and a clock that ends their patience."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from types import FrameType

_SHORTEST_S, _LONGEST_S = 2.0, 600.0
"""What is given lies between: a notice of an hour is no reason to pay an hour for workers that hang."""


class Notice:
    """Whether this node was asked to stop, and how long its workers may still take: `until`, on the monotonic clock."""

    def __init__(self, stop_file: Path, grace_s: float) -> None:
        self.stop_file = stop_file
        self.grace_s = grace_s
        self.until = math.inf
        self._patience_s = 0.0

    @property
    def asked(self) -> bool:
        """Whether a stop was asked."""
        return self.until < math.inf

    @property
    def given_s(self) -> float:
        """Seconds until everything here is over; infinite while no stop was asked."""
        return max(0.0, self.until - time.monotonic())

    @property
    def overdue(self) -> bool:
        """Whether the workers get SIGTERM now, and SIGKILL when the grace is over: they used it up, or never asked the hook."""
        if not self.asked:
            return False
        listens = self.stop_file.with_name("listens").exists()
        return not listens or self.given_s < self._patience_s

    @property
    def left_s(self) -> float:
        """Seconds between SIGTERM and SIGKILL for what is overdue."""
        return max(0.5, (self.given_s if self.asked else self.grace_s) - 1.0)

    def listen(self) -> None:
        """Take SIGTERM and SIGINT as a request to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def ask(self, given_s: float | None = None) -> None:
        """Ask the workers of this node to stop in that many seconds (the grace if not given). A later call can only shorten the time."""
        given_s = self.grace_s if given_s is None else min(max(given_s, _SHORTEST_S), _LONGEST_S)
        until = time.monotonic() + given_s
        if until >= self.until:
            return
        self.until, self._patience_s = until, min(5.0, given_s / 2)
        beside = self.stop_file.with_name(f"{self.stop_file.name}.new")
        try:
            beside.write_text(f"{until:.3f}", encoding="ascii")
            beside.replace(self.stop_file)  # whole or not at all: the workers look while we write
        except OSError:
            self.stop_file.touch()  # on a full disk the empty file still says stop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.ask()
