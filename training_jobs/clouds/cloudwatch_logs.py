"""Read new events of CloudWatch log streams: each read continues after the last one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import NotFoundError
from . import Json
from .aws import AwsClients

__all__ = ["LogEvent", "LogStream"]


class LogEvent(NamedTuple):
    """One event of a stream. `time` is Unix time."""

    time: float
    message: str


@dataclass
class LogStream:
    """One log stream and the token of the last read."""

    group: str
    name: str
    token: str | None = None

    def read_new(self, aws: AwsClients, since: float | None) -> Iterator[LogEvent]:
        """Yield the events since the last read, but none before `since` (Unix time). A stream that does not exist yet has no events.

        On the last page, CloudWatch returns the token that was sent. After an empty page more pages can follow.
        """
        body: Json = {"logGroupName": self.group, "logStreamName": self.name, "startFromHead": True}
        if since is not None:
            body["startTime"] = int(since * 1000)
        while True:
            sent = self.token
            try:
                page = aws.call("logs", "get_log_events", body if sent is None else {**body, "nextToken": sent}, job_may_run=True)
            except NotFoundError:
                return
            for event in page["events"]:
                time = event["timestamp"] / 1000
                if since is None or time >= since:
                    yield LogEvent(time, event["message"])
            self.token = page.get("nextForwardToken", sent)
            if self.token == sent:
                return
