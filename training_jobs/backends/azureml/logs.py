"""Read the output of a job's nodes from the run history: one text file for each node.

Azure ML stores no times, so launch writes a time before each line (launch/output.py), and this module removes it. Everyone who has a file's
signed URL can read the file. So the URLs are requested again for each poll, and never shown or stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime

from ...clouds import Json
from ..base import LogLine
from ..log_follow import follow_lines
from .states import unix_time

__all__ = ["READ_BYTES", "LogReader"]

READ_BYTES = 4 * 2**20
_LONGEST = 2**16 + 64  # bytes of a line that launch writes, with the time before it

_FILE = re.compile(r"user_logs/std_log(?:_process_(\d+))?\.txt")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (.*)", re.DOTALL)

ReadFrom = Callable[[str, int], bytes]
"""Function that reads at most READ_BYTES of a file. Arguments: the file's signed URL, and the offset in bytes."""


class LogReader:
    """The log files of one job. `details` returns the job's entry in the run history, with the files' URLs."""

    def __init__(self, details: Callable[[], Json], read_from: ReadFrom, *, node: int | None, since: float | None) -> None:
        self._details, self._read_from, self._node, self._since = details, read_from, node, since
        self._files: dict[str, _File] = {}

    def lines(self, follow: bool, ended: Callable[[Json], bool], pause: Callable[[], None]) -> Iterator[LogLine]:
        """Yield all lines so far. With `follow`, also yield new lines until `ended(details)` returns true."""

        def poll() -> tuple[list[LogLine], bool]:
            details = self._details()
            job_ended = not follow or ended(details)  # ask before the read, so that the read finds every line until the end
            return self._read_new(details, with_last=job_ended), job_ended

        lines = follow_lines(poll, follow=follow, pause=pause)
        return (line for line in lines if self._since is None or line.time >= self._since)

    def _read_new(self, details: Json, *, with_last: bool) -> list[LogLine]:
        fresh: list[LogLine] = []
        for name, url in sorted((details.get("logFiles") or {}).items()):
            match = _FILE.fullmatch(name)
            rank = int(match[1] or 0) if match else None
            if rank is not None and self._node in (None, rank):
                file = self._files.setdefault(name, _File(rank, unix_time(details.get("startTimeUtc")) or 0.0))
                fresh += file.read_new(self._read_from, url, with_last=with_last)
        return fresh


class _File:
    """The log file of one node. It keeps an unfinished last line until the rest arrives."""

    def __init__(self, node: int, started: float) -> None:
        self._node, self._offset, self._rest, self._time = node, 0, b"", started

    def read_new(self, read_from: ReadFrom, url: str, *, with_last: bool) -> list[LogLine]:
        """Read the new lines. `with_last`: include an unfinished last line."""
        found: list[bytes] = []
        while data := read_from(url, self._offset):
            self._offset += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            found += lines
            while len(self._rest) > _LONGEST:  # a line that launch did not write
                found, self._rest = [*found, self._rest[:_LONGEST]], self._rest[_LONGEST:]
            if len(data) < READ_BYTES:
                break
        if with_last and self._rest:
            found, self._rest = [*found, self._rest], b""
        return [self._line(text.decode("utf-8", "replace").rstrip("\r")) for text in found]

    def _line(self, text: str) -> LogLine:
        """Split a line into its time and text. A line without a time gets the time of the line before it."""
        stamped = _STAMP.fullmatch(text)
        if stamped:
            self._time, text = datetime.fromisoformat(stamped[1]).timestamp(), stamped[2]
        return LogLine(self._time, self._node, text)
