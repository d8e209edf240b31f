"""Copies a node's output to the run bucket, for services that keep no log. Each object has lines with their times."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from . import objects

__all__ = ["LogCopy", "log_copy"]

_INTERVAL_S = 2.0
_PART_BYTES = 512 * 1024
_MOST_WAITING = 16 * 2**20
"""Largest number of bytes in memory while the bucket cannot be reached. Above it, the oldest lines are dropped."""


class LogCopy:
    """Collects lines and writes them in a thread: a slow bucket never holds up the job."""

    def __init__(self, folder: str, write: Callable[[str, bytes], None] = objects.write, interval_s: float = _INTERVAL_S) -> None:
        self._folder, self._write, self._interval_s = folder, write, interval_s
        self._started_ms, self._number = int(time.time() * 1000), 0
        self._lines: list[bytes] = []
        self._size, self._failing = 0, False
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-copy", daemon=True)
        self._thread.start()

    def add(self, lines: bytes) -> None:
        """Add complete lines. Each line begins with its time."""
        with self._lock:
            self._lines.append(lines)
            self._size += len(lines)
            while self._size > _MOST_WAITING:
                self._size -= len(self._lines.pop(0))

    def close(self, timeout_s: float = 30.0) -> None:
        """Write the remaining lines. Give up after `timeout_s` seconds."""
        self._closing.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing.wait(self._interval_s):
            self._send()
        self._send()

    def _send(self) -> None:
        while (part := self._next_part()) is not None:
            try:
                self._write(f"{self._folder}/{self._started_ms:013d}-{self._number:06d}.log", part)
            except Exception as error:  # each cloud's client has its own errors, and the log must not end the job
                if not self._failing:  # once per outage
                    print(f"gpuyard: cannot copy the log to {self._folder}, trying again: {error}", file=sys.__stderr__)
                self._failing = True
                with self._lock:
                    self._lines.insert(0, part)
                    self._size += len(part)
                return
            self._number, self._failing = self._number + 1, False

    def _next_part(self) -> bytes | None:
        """Remove the oldest lines, about _PART_BYTES of them, and return them. None if no line waits."""
        with self._lock:
            size, count = 0, 0
            for entry in self._lines:
                if count and size + len(entry) > _PART_BYTES:
                    break
                size, count = size + len(entry), count + 1
            part, self._lines = b"".join(self._lines[:count]), self._lines[count:]
            self._size -= size
            return part or None


def log_copy() -> LogCopy | None:
    """Return the copy that the service's variables ask for; None on a service with a log of its own."""
    url = os.environ.get("GPUYARD_LOGS_URL")
    return LogCopy(f"{url}/node-{os.environ['SLURM_PROCID']}") if url else None
