"""The output of a job's nodes, read from Cloud Logging: `ml_job` entries by job and task, in order of time.

A time is always asked from: without one the service looks at the last day alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ..base import LogLine

Post = Callable[[str, Mapping[str, Any]], dict[str, Any]]
_PAGE = 1000
_QUIET_LOOKS = 2  # after the end: entries are taken in with a delay
_OVERLAP_S = 30.0
"""How far back a look begins before the newest line that is known: entries of several nodes arrive out of order."""
_TASK = re.compile(r"workerpool(\d)-(\d+)")


def lines(
    post: Post, project: str, job: str, *, node: int | None, since: float, over: Callable[[], bool] | None, pause: Callable[[], None]
) -> Iterator[LogLine]:
    """Lines in order of time within each look. `over`: whether the job has ended, asked while it is followed; None = one look."""
    seen: set[str] = set()
    newest, quiet = since, 0
    while True:
        ended = over is None or over()  # asked first: what was said before the end is read below
        fresh = []
        for entry in _entries(post, project, _filter(job, node, max(since, newest - _OVERLAP_S))):
            line = _line(entry)
            if line is not None and entry["insertId"] not in seen:
                seen.add(entry["insertId"])
                fresh.append(line)
        newest = max([newest, *(line.time for line in fresh)])
        yield from sorted(fresh, key=lambda line: (line.time, line.node))
        quiet = 0 if fresh else quiet + 1
        if over is None or (ended and quiet >= _QUIET_LOOKS):
            return
        pause()


def _filter(job: str, node: int | None, since: float) -> str:
    at = datetime.fromtimestamp(since, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    parts = ['resource.type="ml_job"', f'resource.labels.job_id="{job}"', f'timestamp>="{at}"']
    if node is not None:
        parts.append(f'resource.labels.task_name="{task_of(node)}"')
    return " AND ".join(parts)


def task_of(node: int) -> str:
    """Vertex's name of a node: the first is alone in its pool."""
    return "workerpool0-0" if node == 0 else f"workerpool1-{node - 1}"


def _entries(post: Post, project: str, wanted: str) -> Iterator[dict[str, Any]]:
    body: dict[str, Any] = {"resourceNames": [f"projects/{project}"], "filter": wanted, "orderBy": "timestamp asc", "pageSize": _PAGE}
    while True:
        page = post("entries:list", body)
        yield from page.get("entries", ())
        if not page.get("nextPageToken"):
            return
        body["pageToken"] = page["nextPageToken"]


def _line(entry: Mapping[str, Any]) -> LogLine | None:
    """An entry of a node; None for one of Vertex's own."""
    found = _TASK.fullmatch(entry["resource"]["labels"].get("task_name", ""))
    if found is None:
        return None
    payload = entry.get("jsonPayload", {})
    text = entry.get("textPayload") or payload.get("message") or ""
    node = int(found[2]) + (1 if found[1] != "0" else 0)
    return LogLine(_unix(entry["timestamp"]), node, str(text).rstrip("\r\n"))


def _unix(text: str) -> float:
    """RFC 3339 has nanoseconds, Python microseconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
