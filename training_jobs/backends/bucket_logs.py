"""Read the output of a job's nodes from the run bucket, for services without a log of their own (launch/log_copy.py writes it)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from ..run_layout import logs_path
from ..store import Store, UnreadableError
from .base import LogLine

__all__ = ["BucketLogs"]

_PART = re.compile(r"[0-9]{13}-[0-9]{6}\.log")
_MOST_PARTS = 100_000
_MOST_BYTES = 2**20


class BucketLogs:
    """The lines of some nodes of one submission. Each call of `read_new` returns the lines that appeared since the last one."""

    def __init__(self, store: Store, run_id: str, ordinal: str, nodes: Sequence[int], since: float | None) -> None:
        """`since`: Unix time of the first line; None = all lines."""
        self._store, self._folder, self._since = store, logs_path(run_id, ordinal), since
        self._newest = dict.fromkeys(nodes, "")

    def read_new(self) -> list[LogLine]:
        """Return the new lines of all nodes, in the order in which each node wrote them."""
        return [line for node in self._newest for line in self._read_node(node) if self._since is None or line.time >= self._since]

    def _read_node(self, node: int) -> Iterator[LogLine]:
        folder = f"{self._folder}/node-{node}"
        for name in self._store.names(folder, _MOST_PARTS):
            if name <= self._newest[node] or not _PART.fullmatch(name):
                continue
            self._newest[node] = name
            try:
                found = self._store.read(f"{folder}/{name}", _MOST_BYTES)
            except UnreadableError:  # launch writes smaller parts: a job wrote this one
                continue
            yield from (_line(text, node) for text in (found[0] if found else b"").decode("utf-8", "replace").split("\n") if text)


def _line(text: str, node: int) -> LogLine:
    """Parse `<UTC time> <text>`. A line without a time gets the time 0."""
    moment, _, rest = text.partition(" ")
    try:
        return LogLine(datetime.fromisoformat(moment).timestamp(), node, rest)
    except (ValueError, OverflowError):
        return LogLine(0.0, node, text)
