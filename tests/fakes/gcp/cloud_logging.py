"""Fake of Cloud Logging's entries:list for jobs and their readers: filters, pages, and the one-day default that the API adds."""

from __future__ import annotations

import itertools
import json
import re
import time
from datetime import UTC, datetime

from tests.fakes.gcp.http_service import Answer, Call, FakeHttp, Json, RefusalError, answer

_CLAUSE = re.compile(r'(timestamp|resource\.type|resource\.labels\.\w+)\s*(>=|=)\s*"([^"]*)"')
_DAY_S = 86400


class FakeLogging(FakeHttp):
    """The fake service. A page has at most `page` entries.

    With `gaps`, every second page is empty although more pages follow, as documented.
    """

    def __init__(self, *, page: int = 1000, gaps: bool = False) -> None:
        super().__init__()
        self.entries: list[Json] = []
        self.page, self.gaps = page, gaps
        self.refused: set[str] = set()
        """Projects and views that the caller may not read."""
        self._numbers = itertools.count()

    def write(self, job: str, task: str, text: str, at: float | None = None, *, project: str = "acme-ml") -> None:
        """Write one line of a container."""
        stamp = datetime.fromtimestamp(time.time() if at is None else at, UTC).isoformat(timespec="microseconds")
        with self.lock:
            self.entries.append({
                "logName": f"projects/{project}/logs/{task}", "insertId": f"i{next(self._numbers):08d}", "severity": "INFO",
                "timestamp": stamp.replace("+00:00", "123Z"), "jsonPayload": {"message": f"{text}\n", "levelname": "INFO"},
                "resource": {"type": "ml_job", "labels": {"job_id": job, "task_name": task, "project_id": project}},
            })  # fmt: skip

    def text(self) -> str:
        """Return everything that was written, for secret scans."""
        return "\n".join(entry["jsonPayload"]["message"] for entry in self.entries)

    def serve(self, call: Call) -> Answer:
        """Return a page of entries."""
        if (call.method, call.path) != ("POST", "/v2/entries:list"):
            raise RefusalError(404, f"this fake has no {call.method} {call.path}", "notFound")
        body = json.loads(call.body)
        unknown = set(body) - {"resourceNames", "filter", "orderBy", "pageSize", "pageToken"}
        if unknown or not body.get("resourceNames") or not 1 <= body.get("pageSize", 50) <= 1000:
            raise RefusalError(400, f"Invalid JSON payload received: {unknown or 'resourceNames, pageSize'}", "badRequest")
        if denied := self.refused & set(body["resourceNames"]):
            raise RefusalError(403, f"Permission denied for {denied}", "forbidden")
        found = self._wanted(body)
        start, _, gap = body.get("pageToken", "0").partition("/")
        if self.gaps and not gap and int(start) < len(found):
            return answer({"nextPageToken": f"{start}/gap"})
        size = min(body.get("pageSize", 50), self.page)
        end = int(start) + size
        result: Json = {"entries": found[int(start) : end]}
        return answer(result | {"nextPageToken": str(end)} if end < len(found) else result)

    def _wanted(self, body: Json) -> list[Json]:
        clauses = []
        for part in body.get("filter", "").split(" AND "):
            found = _CLAUSE.fullmatch(part.strip())
            if found is None:
                raise RefusalError(400, f"Unparseable filter: {part}", "badRequest")
            clauses.append((found[1], found[3]))
        since = [_unix(value) for name, value in clauses if name == "timestamp"] or [time.time() - _DAY_S]
        equal = [(name.split(".")[1:], value) for name, value in clauses if name != "timestamp"]
        with self.lock:
            every = list(self.entries)
        chosen = [
            entry for entry in every
            if _unix(entry["timestamp"]) >= max(since) and all(_at(entry["resource"], path) == value for path, value in equal)
        ]  # fmt: skip
        return sorted(chosen, key=lambda entry: str(entry["timestamp"]), reverse=body.get("orderBy") == "timestamp desc")


def _at(resource: Json, path: list[str]) -> object:
    found: object = resource
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _unix(text: str) -> float:
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
