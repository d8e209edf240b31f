"""Read new lines from the log file of one node of a local job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ...launch.output import LINE_LIMIT
from ...store import UnreadableError, open_regular_file
from ..base import LogLine

__all__ = ["NodeLog"]

_LONGEST = LINE_LIMIT + 64  # bytes of a line with the time before it


class NodeLog:
    """One node's log. Each line begins with its time. A very long line, which launch never writes, is read in pieces."""

    def __init__(self, path: Path, node: int) -> None:
        self._path, self._node = path, node
        self._offset, self._time, self._in_line = 0, 0.0, False

    def read_new(self) -> Iterator[LogLine]:
        """Yield the lines completed since the last read, with bounded memory. A missing file, or a link, counts as empty."""
        try:
            file = open_regular_file(self._path)
        except (FileNotFoundError, UnreadableError):
            return
        with file:
            file.seek(self._offset)
            while raw := file.readline(_LONGEST):
                complete = raw.endswith(b"\n")
                if not complete and len(raw) < _LONGEST:
                    return  # the rest has not been written yet
                self._offset += len(raw)
                line = self._line(raw.removesuffix(b"\n").decode("utf-8", "replace"))
                self._in_line = not complete
                if line is not None:
                    yield line

    def _line(self, text: str) -> LogLine | None:
        """Split a line into time and text. Later pieces of a long line get its time. None for a line that a full disk has cut off."""
        if not self._in_line:
            stamp, _, text = text.partition(" ")
            try:
                self._time = datetime.fromisoformat(stamp).timestamp()
            except (ValueError, OverflowError):
                return None
        return LogLine(self._time, self._node, text)
