"""Read the output of a training job's hosts from CloudWatch: streams `<job>/algo-<n>-...`. Each restart adds new streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ...clouds import Json
from ...clouds.aws import AwsClients
from ...clouds.cloudwatch_logs import LogStream
from ...errors import NotFoundError
from ..base import LogLine
from ..log_follow import follow_lines

__all__ = ["LogReader"]


class LogReader:
    """The log streams of one training job."""

    def __init__(self, aws: AwsClients, group: str, job: str, hosts: int, *, node: int | None, since: float | None) -> None:
        self._aws, self._group, self._job, self._node, self._since = aws, group, job, node, since
        names = sorted(f"algo-{number + 1}" for number in range(hosts))  # launch ranks the hosts in this order
        self._ranks = {name: rank for rank, name in enumerate(names)}
        self._streams: dict[str, LogStream] = {}

    def lines(self, follow: bool, ended: Callable[[], bool], pause: Callable[[], None]) -> Iterator[LogLine]:
        """Yield all lines so far. With `follow`, also yield new lines until `ended` returns true."""

        def poll() -> tuple[list[LogLine], bool]:
            job_ended = follow and ended()  # ask before the read, so that the read finds every line until the end
            return list(self._read_new()), job_ended

        return follow_lines(poll, follow=follow, pause=pause)

    def _read_new(self) -> Iterator[LogLine]:
        for name in self._stream_names():
            host = re.match(r"algo-\d+", name.removeprefix(f"{self._job}/"))
            rank = self._ranks.get(host[0]) if host else None
            if rank is not None and self._node in (None, rank):
                stream = self._streams.setdefault(name, LogStream(self._group, name))
                for event in stream.read_new(self._aws, self._since):
                    yield LogLine(event.time, rank, event.message.rstrip("\r\n"))

    def _stream_names(self) -> list[str]:
        found: list[str] = []
        body: Json = {"logGroupName": self._group, "logStreamNamePrefix": f"{self._job}/"}
        while True:
            try:
                page = self._aws.call("logs", "describe_log_streams", body, job_may_run=True)
            except NotFoundError:  # no host has written anything yet
                return sorted(found)
            found += [stream["logStreamName"] for stream in page.get("logStreams", ())]
            if not page.get("nextToken"):
                return sorted(found)
            body["nextToken"] = page["nextToken"]
