"""Output of a Batch job's nodes: from each container's log stream, all attempts at the service, merged by time."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ...clouds.aws import AwsClients
from ...errors import NotFoundError
from ..base import LogLine

_PER_DESCRIBE = 100
_LATE_ROUNDS = 3
"""The logs take a moment to be taken in: after the end they are asked so often more before nothing is believed."""

Jobs = list[dict[str, Any]]


@dataclass
class _Stream:
    node: int
    name: str
    token: str | None = None


class Reader:
    """Reads the streams of one job; new streams appear as nodes start and attempts follow one another."""

    def __init__(self, aws: AwsClients, group: str, job_id: str, node: int | None, since: float | None) -> None:
        self._aws, self._group, self._job_id, self._node, self._since = aws, group, job_id, node, since
        self._streams: dict[str, _Stream] = {}

    def lines(self, follow: bool, ended: Callable[[str], bool], pause_s: float) -> Iterator[LogLine]:
        """Everything there is, and with `follow` what comes until the job's end."""
        quiet = 0
        while True:
            job = self._describe([self._job_id])
            over = not job or ended(job[0]["status"])
            if job:
                self._find_streams(job[0])
            batch = [list(self._read(stream)) for stream in self._streams.values()]
            yield from heapq.merge(*batch, key=lambda line: line.time)
            quiet = 0 if any(batch) else quiet + 1
            if not follow or (over and quiet >= _LATE_ROUNDS):
                return
            time.sleep(pause_s)

    def _describe(self, ids: list[str]) -> Jobs:
        parts = [ids[start : start + _PER_DESCRIBE] for start in range(0, len(ids), _PER_DESCRIBE)]
        answers = [self._aws.call("batch", "describe_jobs", {"jobs": part}, watching=True) for part in parts]
        return [job for answer in answers for job in answer["jobs"]]

    def _find_streams(self, job: dict[str, Any]) -> None:
        nodes = job.get("nodeProperties", {}).get("numNodes")
        if nodes is None:
            found = [(0, job)]
        else:
            wanted = [self._node] if self._node is not None else list(range(nodes))
            children = self._describe([f"{self._job_id}#{index}" for index in wanted])
            found = [(child["nodeDetails"]["nodeIndex"], child) for child in children]
        for node, container in found:
            attempts = [attempt.get("container", {}) for attempt in container.get("attempts", [])]
            for name in (entry.get("logStreamName") for entry in [*attempts, container.get("container", {})]):
                if name:
                    self._streams.setdefault(name, _Stream(node, name))

    def _read(self, stream: _Stream) -> Iterator[LogLine]:
        """What a stream has since the last time: pages until the token stays the same; an empty page alone is no end."""
        while True:
            body: dict[str, Any] = {"logGroupName": self._group, "logStreamName": stream.name, "startFromHead": True}
            if self._since is not None:
                body["startTime"] = int(self._since * 1000)
            if stream.token is not None:
                body["nextToken"] = stream.token
            try:
                page = self._aws.call("logs", "get_log_events", body, watching=True)
            except NotFoundError:  # the container has said nothing yet
                return
            for event in page["events"]:
                moment = event["timestamp"] / 1000
                if self._since is None or moment >= self._since:
                    yield from (LogLine(moment, stream.node, text) for text in event["message"].split("\n"))
            if page["nextForwardToken"] == stream.token:
                return
            stream.token = page["nextForwardToken"]
