"""The request to stop: SIGTERM becomes a file that the workers' hook sees, and a clock that ends their patience."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType


class Notice:
    """Whether this node was asked to stop, and how long its workers may still take."""

    def __init__(self, stop_file: Path, grace_s: float) -> None:
        self.stop_file = stop_file
        self._grace_s = grace_s
        self._patience_s = max(grace_s - 5.0, grace_s / 2)
        self._since: float | None = None

    @property
    def asked(self) -> bool:
        """Whether a stop was asked."""
        return self._since is not None

    @property
    def overdue(self) -> bool:
        """Whether the workers get SIGTERM now, and SIGKILL when the grace is over: they used it up, or never asked the hook."""
        if self._since is None:
            return False
        listens = self.stop_file.with_name("listens").exists()
        return not listens or time.monotonic() - self._since > self._patience_s

    @property
    def left_s(self) -> float:
        """Seconds between SIGTERM and SIGKILL for what is overdue."""
        spent = 0.0 if self._since is None else time.monotonic() - self._since
        return max(0.5, self._grace_s - spent - 1.0)

    def listen(self) -> None:
        """Take SIGTERM and SIGINT as a request to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def ask(self) -> None:
        """Ask the workers of this node to stop; asking again changes nothing."""
        if self._since is None:
            self._since = time.monotonic()
            self.stop_file.touch()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.ask()
