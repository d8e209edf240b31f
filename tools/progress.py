"""A progress line of a long step: rewritten on a terminal, repeated every 15 s elsewhere."""

from __future__ import annotations

import re
import shutil
import time
from typing import TextIO

__all__ = ["Progress", "Speed", "clock"]

_REPEAT_S = 15.0


def clock(seconds: float) -> str:
    """Format seconds as 0:31, 2:09 or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """The progress line of one tool. It shows the time since the step began. Texts that differ only in numbers belong to one step."""

    def __init__(self, stream: TextIO, prefix: str = "", *, timed: bool = True) -> None:
        self._stream, self._prefix, self._timed = stream, prefix, timed
        self._terminal = stream.isatty()
        self._step = ""
        self._since = self._shown = 0.0
        self._open = False

    def say(self, text: str, step: str | None = None) -> None:
        """Show `text` if it is a new step, or if the last line is 15 s old."""
        now = time.monotonic()
        step = re.sub(r"\d+", "", text) if step is None else step
        if step != self._step:
            self._step, self._since, self._shown = step, now, 0.0
        if not self._terminal and self._shown and now - self._shown < _REPEAT_S:
            return
        self._shown = now
        line = f"{self._prefix}{text}" + (f"  {clock(now - self._since)}" if self._timed else "")
        if self._terminal:
            width = shutil.get_terminal_size().columns
            self._stream.write("\r\x1b[K" + line[: width - 1])
            self._open = True
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Clear the line for the next output."""
        if self._open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._open = False


class Speed:
    """The time left, from the speed of the last 20 s. A lower step number (after a restart) resets it."""

    _WINDOW_S = 20.0

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def left(self, step: int, steps: int, now: float | None = None) -> float | None:
        """Return the seconds until `steps` at the present speed, None while it is unknown."""
        now = time.monotonic() if now is None else now
        if self._seen and step < self._seen[-1][1]:
            self._seen.clear()
        self._seen = [(then, was) for then, was in self._seen if now - then <= self._WINDOW_S]
        self._seen.append((now, step))
        (then, was) = self._seen[0]
        return (steps - step) * (now - then) / (step - was) if step > was else None
