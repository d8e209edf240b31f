"""The output of a job's nodes: text files of the run history, one for each node, read from where the last look ended.

The files say no times, so launch writes one before each line (launch/stamp.py); it is taken off here. Their URLs are signed for
whoever holds them: they are asked for anew at each look, and shown or kept nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from ...errors import GpuyardError
from ..base import LogLine
from .states import unix

_FILE = re.compile(r"user_logs/std_log(?:_process_(\d+))?\.txt")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (.*)", re.DOTALL)
_QUIET_LOOKS = 2  # after the end: the files take lines in with a delay

Fetch = Callable[[str, int], bytes]
"""(signed URL, offset) to what is there from then on."""


def lines(
    details: Callable[[], Mapping[str, Any]], fetch: Fetch, *, node: int | None, since: float | None,
    over: Callable[[Mapping[str, Any]], bool] | None, pause: Callable[[], None],
) -> Iterator[LogLine]:  # fmt: skip
    """Lines in order of time within each look. `over`: whether the job has ended, while it is followed; None = one look."""
    readers: dict[str, _Reader] = {}
    quiet = 0
    while True:
        told = details()  # asked first: what was said before the end is read below
        ended = over is None or over(told)
        fresh: list[LogLine] = []
        for name, url in sorted((told.get("logFiles") or {}).items()):
            file = _FILE.fullmatch(name)
            rank = int(file[1] or 0) if file else None
            if rank is not None and node in (None, rank):
                reader = readers.setdefault(name, _Reader(rank, unix(told.get("startTimeUtc")) or 0.0))
                fresh += reader.read(fetch, url, whole=ended)
        yield from sorted((line for line in fresh if since is None or line.time >= since), key=lambda line: (line.time, line.node))
        quiet = 0 if fresh else quiet + 1
        if over is None or (ended and quiet >= _QUIET_LOOKS):
            return
        pause()


class _Reader:
    """One file. A line that is not whole yet waits for its end."""

    def __init__(self, node: int, began: float) -> None:
        self._node, self._offset, self._rest, self._time = node, 0, b"", began

    def read(self, fetch: Fetch, url: str, *, whole: bool) -> list[LogLine]:
        data = fetch(url, self._offset)
        self._offset += len(data)
        *found, self._rest = (self._rest + data).split(b"\n")
        if whole and self._rest:
            found, self._rest = [*found, self._rest], b""
        return [self._line(text.decode("utf-8", "replace").rstrip("\r")) for text in found]

    def _line(self, text: str) -> LogLine:
        """What has no time of its own was said with what came before it."""
        stamped = _STAMP.fullmatch(text)
        if stamped:
            self._time, text = datetime.fromisoformat(stamped[1]).timestamp(), stamped[2]
        return LogLine(self._time, self._node, text)


def beyond_the_end(error: GpuyardError) -> bool:
    """Whether nothing came since the last look, or the file is not there yet."""
    return getattr(error.__cause__, "status_code", None) in {404, 416}
