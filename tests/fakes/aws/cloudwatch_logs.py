"""Fake of CloudWatch Logs for jobs and their readers: groups, streams, and pages whose tokens behave as documented."""

from __future__ import annotations

import time
from typing import Any

from tests.fakes.aws.botocore_service import Body, FakeService, RefusalError

Event = dict[str, Any]


class FakeLogs(FakeService):
    """The fake service. A page has at most `page` events.

    With `gaps`, every second page is empty although more pages follow, as documented.
    """

    name = "logs"

    def __init__(self, *, page: int = 10_000, gaps: bool = False) -> None:
        super().__init__()
        self.groups: dict[str, dict[str, list[Event]]] = {}
        self.page, self.gaps = page, gaps
        self._gap = False

    def group(self, name: str) -> str:
        """Create a log group, as the stack does."""
        self.groups.setdefault(name, {})
        return name

    def write(self, group: str, stream: str, text: str, at: float | None = None) -> None:
        """Write one line of a container."""
        stamp = int((time.time() if at is None else at) * 1000)
        with self.lock:
            events = self._streams(group).setdefault(stream, [])
            events.append({"timestamp": stamp, "message": text, "ingestionTime": int(time.time() * 1000)})

    def text(self) -> str:
        """Return everything that was written, for secret scans."""
        return "\n".join(event["message"] for streams in self.groups.values() for events in streams.values() for event in events)

    def get_log_events(self, body: Body) -> Body:
        """Return a page that starts at a token. At the end, the returned token equals the one that was sent."""
        events = self._wanted(body)
        start = self._position(body, len(events))
        with self.lock:
            self._gap = self.gaps and not self._gap
        size = min(body.get("limit", self.page), self.page)
        found = events[start : start + (0 if self._gap and start < len(events) else size)]
        # A gap's token differs from the one that was sent, although it leads to the same position.
        forward = f"f/{start + len(found)}"
        if self._gap and start < len(events):
            forward += "/gap" if not str(body.get("nextToken", "")).endswith("/gap") else ""
        return {"events": found, "nextForwardToken": forward, "nextBackwardToken": f"b/{start}"}

    def describe_log_streams(self, body: Body) -> Body:
        """Return streams by name, one page at a time."""
        prefix, size = body.get("logStreamNamePrefix", ""), body.get("limit", 50)
        names = sorted(name for name in self._streams(self._name(body)) if name.startswith(prefix))
        start = int(body.get("nextToken", "0"))
        streams = [{"logStreamName": name, "arn": self.arn(f"log-stream:{name}")} for name in names[start : start + size]]
        return {"logStreams": streams, "nextToken": str(start + size) if start + size < len(names) else None}

    def _wanted(self, body: Body) -> list[Event]:
        streams = self._streams(self._name(body))
        if body["logStreamName"] not in streams:
            raise RefusalError("ResourceNotFoundException", "The specified log stream does not exist.")
        since, until = body.get("startTime", 0), body.get("endTime", float("inf"))
        with self.lock:
            return [event for event in streams[body["logStreamName"]] if since <= event["timestamp"] < until]

    def _position(self, body: Body, size: int) -> int:
        token = body.get("nextToken")
        if token is None:
            return 0 if body.get("startFromHead") else max(0, size - self.page)
        if not token.startswith("f/"):
            raise RefusalError("InvalidParameterException", "The specified nextToken is invalid.")
        return int(token.split("/")[1])

    def _name(self, body: Body) -> str:
        return str(body.get("logGroupName") or body.get("logGroupIdentifier"))

    def _streams(self, group: str) -> dict[str, list[Event]]:
        if group not in self.groups:
            raise RefusalError("ResourceNotFoundException", "The specified log group does not exist.")
        return self.groups[group]
