"""Read the output of a custom job's nodes from Cloud Logging: the entries `ml_job` of a job and task, ordered by time.

Every filter has a start time, because without a start time Cloud Logging searches only the last day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from ....plain_data import PlainMapping
from ...clouds import Json
from ...errors import AuthError
from ..base import LogLine
from ..log_follow import follow_lines

__all__ = ["LogReader", "task_name"]

_Post = Callable[[str, PlainMapping], Json]
_PAGE = 1000
_OVERLAP_S = 30.0
"""Each poll starts this long before the newest known line, because entries of several nodes arrive out of order."""
_TASK = re.compile(r"workerpool(\d)-(\d+)")


class LogReader:
    """The log entries of one custom job, each yielded once. `post` calls a method of Cloud Logging's REST API.

    `view`: the log view to read first, because submitters may read no other log. If the view may not be read, the project's logs are read.
    """

    def __init__(self, post: _Post, project: str, job: str, *, node: int | None, since: float, view: str | None = None) -> None:
        self._post, self._job, self._node = post, job, node
        self._sources = [*([view] if view else []), f"projects/{project}"]
        self._since = self._newest = since
        self._yielded: set[str] = set()

    def lines(self, follow: bool, ended: Callable[[], bool], pause: Callable[[], None]) -> Iterator[LogLine]:
        """Yield all lines so far. With `follow`, also yield new lines until `ended` returns true."""

        def poll() -> tuple[list[LogLine], bool]:
            job_ended = follow and ended()  # ask before the read, so that the read finds every line until the end
            return self._read_new(), job_ended

        return follow_lines(poll, follow=follow, pause=pause)

    def _read_new(self) -> list[LogLine]:
        fresh = []
        for entry in self._entries():
            line = _line(entry)
            if line is not None and entry["insertId"] not in self._yielded:
                self._yielded.add(entry["insertId"])
                fresh.append(line)
        self._newest = max([self._newest, *(line.time for line in fresh)])
        return fresh

    def _entries(self) -> Iterator[Json]:
        body: Json = {"filter": self._filter(), "orderBy": "timestamp asc", "pageSize": _PAGE}
        while True:
            page = self._page(body)
            yield from page.get("entries", ())
            if not page.get("nextPageToken"):
                return
            body["pageToken"] = page["nextPageToken"]

    def _page(self, body: Json) -> Json:
        try:
            return self._post("entries:list", {**body, "resourceNames": self._sources[:1]})
        except AuthError:
            if len(self._sources) == 1:
                raise
            del self._sources[0]
            return self._page(body)

    def _filter(self) -> str:
        start = datetime.fromtimestamp(max(self._since, self._newest - _OVERLAP_S), UTC)
        at = start.isoformat(timespec="microseconds").replace("+00:00", "Z")
        parts = ['resource.type="ml_job"', f'resource.labels.job_id="{self._job}"', f'timestamp>="{at}"']
        if self._node is not None:
            parts.append(f'resource.labels.task_name="{task_name(self._node)}"')
        return " AND ".join(parts)


def task_name(node: int) -> str:
    """Return Vertex AI's name of a node: node 0 is the only replica of the first pool."""
    return "workerpool0-0" if node == 0 else f"workerpool1-{node - 1}"


def _line(entry: Json) -> LogLine | None:
    """Convert a log entry of a node to a line; None for an entry of Vertex AI itself."""
    found = _TASK.fullmatch(entry["resource"]["labels"].get("task_name", ""))
    if found is None:
        return None
    text = entry.get("textPayload") or entry.get("jsonPayload", {}).get("message") or ""
    node = int(found[2]) + (1 if found[1] != "0" else 0)
    return LogLine(_unix(entry["timestamp"]), node, str(text).rstrip("\r\n"))


def _unix(text: str) -> float:
    """Convert a timestamp to Unix time. Cloud Logging writes nanoseconds, but Python parses only microseconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
