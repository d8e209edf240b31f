"""Follow the logs of a job by polling its service until the job has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .base import LogLine

__all__ = ["Poll", "follow_lines"]

Poll = Callable[[], tuple[list[LogLine], bool]]
"""Function that returns the new lines since the last poll, and whether the job had ended before this poll."""


def follow_lines(poll: Poll, *, follow: bool, pause: Callable[[], None], quiet_polls: int = 2) -> Iterator[LogLine]:
    """Yield the lines of each poll, ordered by time.

    Without `follow`, poll once. With `follow`, poll until `quiet_polls` polls in a row find nothing after the job's end, because the
    services store lines with a delay.
    """
    quiet = 0
    while True:
        lines, ended = poll()
        yield from sorted(lines, key=lambda line: (line.time, line.node))
        quiet = 0 if lines else quiet + 1
        if not follow or (ended and quiet >= quiet_polls):
            return
        pause()
