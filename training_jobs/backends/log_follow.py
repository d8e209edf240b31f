"""Follow the logs of a job whose service is polled: look, yield the new lines in order, pause, until the job has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .base import LogLine

__all__ = ["Look", "follow_lines"]

Look = Callable[[], tuple[list[LogLine], bool]]
"""Return the lines that are new since the last look, and whether the job had ended before this look."""


def follow_lines(look: Look, *, follow: bool, pause: Callable[[], None], quiet_looks: int = 2) -> Iterator[LogLine]:
    """Yield the lines of each look, ordered by time.

    Without `follow` there is one look. With it the last look is the `quiet_looks`-th in a row after the job's end that finds
    nothing, because the services store lines with a delay.
    """
    quiet = 0
    while True:
        lines, ended = look()
        yield from sorted(lines, key=lambda line: (line.time, line.node))
        quiet = 0 if lines else quiet + 1
        if not follow or (ended and quiet >= quiet_looks):
            return
        pause()
