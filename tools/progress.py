"""One line that says what a long step is doing and for how long: rewritten on a terminal, repeated now and then elsewhere."""

from __future__ import annotations

import re
import shutil
import time
from typing import TextIO

_REPEAT_S = 15.0


def clock(seconds: float) -> str:
    """0:31, 2:09, 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Where the long steps of one tool report; the time shown is that of the step, which is the text without its numbers."""

    def __init__(self, stream: TextIO, prefix: str = "", *, timed: bool = True) -> None:
        self._stream, self._prefix, self._timed = stream, prefix, timed
        self._terminal = stream.isatty()
        self._step = ""
        self._since = self._shown = 0.0
        self._open = False

    def say(self, text: str, step: str | None = None) -> None:
        """Show `text` now if it is a new step, or if it is time to show a sign of life."""
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
        """Clear the line, so that the next thing printed starts at the left."""
        if self._open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._open = False


class Speed:
    """Steps per second over the last seconds, and the time left; a step that goes back (a recovery) starts anew."""

    _WINDOW_S = 20.0

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def left(self, step: int, steps: int, now: float | None = None) -> float | None:
        """Seconds until `steps` at the present speed; None while that is not known."""
        now = time.monotonic() if now is None else now
        if self._seen and step < self._seen[-1][1]:
            self._seen.clear()
        self._seen = [(then, was) for then, was in self._seen if now - then <= self._WINDOW_S]
        self._seen.append((now, step))
        (then, was) = self._seen[0]
        return (steps - step) * (now - then) / (step - was) if step > was else None
