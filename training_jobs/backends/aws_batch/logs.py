"""Read the output of a Batch job's nodes from their CloudWatch log streams, including earlier attempts of Batch."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ...clouds import Json
from ...clouds.aws import AwsClients
from ...clouds.cloudwatch_logs import LogStream
from ..base import LogLine
from ..log_follow import follow_lines

__all__ = ["LogReader"]

_PER_DESCRIBE = 100
_ENDED = ("SUCCEEDED", "FAILED")
_QUIET_POLLS = 3  # empty polls after the job's end: CloudWatch stores lines with a delay


class LogReader:
    """The log streams of one job. New streams appear as nodes and attempts start."""

    def __init__(self, aws: AwsClients, group: str, job_id: str, node: int | None, since: float | None) -> None:
        self._aws, self._group, self._job_id, self._node, self._since = aws, group, job_id, node, since
        self._streams: dict[str, tuple[int, LogStream]] = {}

    def lines(self, follow: bool, pause_s: float) -> Iterator[LogLine]:
        """Yield all lines so far. With `follow`, also yield new lines until the job has ended."""
        return follow_lines(self._poll, follow=follow, pause=lambda: time.sleep(pause_s), quiet_polls=_QUIET_POLLS)

    def _poll(self) -> tuple[list[LogLine], bool]:
        job = self._describe([self._job_id])
        if job:
            self._find_streams(job[0])
        lines = [line for node, stream in self._streams.values() for line in self._read(node, stream)]
        return lines, not job or job[0]["status"] in _ENDED

    def _describe(self, ids: list[str]) -> list[Json]:
        parts = [ids[start : start + _PER_DESCRIBE] for start in range(0, len(ids), _PER_DESCRIBE)]
        answers = [self._aws.call("batch", "describe_jobs", {"jobs": part}, job_may_run=True) for part in parts]
        return [job for answer in answers for job in answer["jobs"]]

    def _find_streams(self, job: Json) -> None:
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
                    self._streams.setdefault(name, (node, LogStream(self._group, name)))

    def _read(self, node: int, stream: LogStream) -> Iterator[LogLine]:
        for event in stream.read_new(self._aws, self._since):
            yield from (LogLine(event.time, node, text) for text in event.message.split("\n"))
