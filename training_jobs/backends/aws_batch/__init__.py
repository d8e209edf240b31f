"""The service `batch`: AWS Batch jobs, multi-node parallel where a job has several nodes.

SubmitJob takes no client token: a submission has a deterministic name, by which it is found after a crash, and the call is
made so that an answer that never came does not lead to a second job.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ....problems import Problem
from ...clouds.aws import AwsClients, aws_clients
from ...clouds.aws_errors import error_code, error_kind
from ...errors import GpuyardError, UsageError
from ...run import Run
from ...state import State
from ...target import BatchTarget
from ..base import Capacity, LogLine, Request, ServiceStatus
from ..submit_once import WITHIN_S, once
from .definitions import Definitions
from .logs import Reader
from .request import job_name, requests
from .states import CANCELLED, OVERTIME, is_overtime, status_of

_QUEUE_IS_WELL_S = 60.0
_PER_DESCRIBE = 100
_ENDED = ("SUCCEEDED", "FAILED")
_seen_well: dict[tuple[int, str], float] = {}
"""When a queue was last seen to take jobs, by clients and queue: a process that submits thousands asks once a minute."""


class BatchBackend:
    """Jobs on a pool behind a Batch queue (see backends/base.py for what each method promises)."""

    poll_s = 5.0

    def __init__(self, target: BatchTarget, *, aws: AwsClients | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._target, self._sleep = target, sleep
        self._aws = aws or aws_clients(target.region)
        self._definitions = Definitions(self._aws, target)

    def request(self, run: Run) -> list[Request]:
        """A job definition, made where there is none of this content, and the submission."""
        return requests(run, self._target)

    def submit(self, run: Run) -> str:
        """Submit by the definition's name; register it where Batch has no such active definition."""
        until = time.monotonic() + WITHIN_S
        definition, submission = (request.body for request in self.request(run))
        try:
            return self._submit(run, submission, until)
        except UsageError as error:
            if error_code(error.__cause__) != "ClientException" or not self._definitions.ensure(definition):
                raise
        return self._submit(run, submission, until)

    def _submit(self, run: Run, body: dict[str, Any], until: float) -> str:
        def attempt() -> str:
            return str(self._aws.call("batch", "submit_job", body, once=True)["jobId"])

        return once(attempt, lambda: self.find(run), error_kind, self._sleep, until=until)

    def find(self, run: Run) -> str | None:
        """By its name: the oldest, should there be several."""
        wanted = job_name(run)
        body = {"jobQueue": self._target.job_queue, "filters": [{"name": "JOB_NAME", "values": [wanted]}]}
        found = [job for job in self._pages("list_jobs", body, "jobSummaryList") if job["jobName"] == wanted]
        return str(min(found, key=lambda job: (job.get("createdAt", 0), job["jobId"]))["jobId"]) if found else None

    def status(self, service_id: str) -> ServiceStatus:
        """What DescribeJobs says; Batch forgets a job some days after its end."""
        return self.statuses([service_id])[service_id]

    def statuses(self, service_ids: Sequence[str]) -> dict[str, ServiceStatus]:
        """The same of many jobs, a hundred in a call."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(service_ids), _PER_DESCRIBE):
            body = {"jobs": list(service_ids[start : start + _PER_DESCRIBE])}
            found |= {job["jobId"]: job for job in self._aws.call("batch", "describe_jobs", body, watching=True)["jobs"]}
        return {service_id: self._told(service_id, found.get(service_id)) for service_id in service_ids}

    def _told(self, service_id: str, job: dict[str, Any] | None) -> ServiceStatus:
        if job is None:
            return ServiceStatus(State.UNKNOWN, detail="AWS Batch does not know this job (any more): it keeps ended jobs for 7 days")
        if is_overtime(job, time.time()):
            with contextlib.suppress(GpuyardError):  # who may only look still sees
                self._aws.call("batch", "terminate_job", {"jobId": service_id, "reason": OVERTIME})
        return status_of(job, spot=self._target.spot, console_url=self._console(service_id))

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """The containers' log streams, all attempts at the service."""
        reader = Reader(self._aws, self._target.log_group, service_id, node, since)
        return reader.lines(follow, lambda status: status in _ENDED, self.poll_s)

    def cancel(self, service_id: str) -> None:
        """TerminateJob ends a job in every state, and changes nothing after its end."""
        self._aws.call("batch", "terminate_job", {"jobId": service_id, "reason": CANCELLED})

    def capacity(self) -> Capacity:
        """The pool's nodes, less those of running jobs. Raises UsageError for a queue that takes no jobs."""
        self.ready()
        running = self._list("RUNNING") + self._list("STARTING")
        waiting = self._list("SUBMITTED") + self._list("PENDING") + self._list("RUNNABLE")
        taken = sum(job.get("nodeProperties", {}).get("numNodes", 1) for job in running)
        return Capacity(self._target.max_nodes, max(0, self._target.max_nodes - taken), len(waiting))

    def ready(self) -> None:
        """Find out before anything is written whether the queue is there and takes jobs."""
        key = (id(self._aws), self._target.job_queue)
        if time.monotonic() - _seen_well.get(key, -_QUEUE_IS_WELL_S) < _QUEUE_IS_WELL_S:
            return
        queues = self._aws.call("batch", "describe_job_queues", {"jobQueues": [self._target.job_queue]})["jobQueues"]
        where = Problem("pool", "the queue takes no jobs", fix="run `pulumi up` of the stack, or choose another pool")
        if not queues:
            raise UsageError(f"pool '{self._target.pool}' has no queue {self._target.job_queue} in {self._target.region}", [where])
        if (queues[0]["state"], queues[0].get("status", "VALID")) != ("ENABLED", "VALID"):
            said = f"{queues[0]['state']}, {queues[0].get('status')}: {queues[0].get('statusReason') or 'no reason given'}"
            raise UsageError(f"the queue of pool '{self._target.pool}' is {said}", [where])
        _seen_well[key] = time.monotonic()

    def _list(self, status: str) -> list[dict[str, Any]]:
        return list(self._pages("list_jobs", {"jobQueue": self._target.job_queue, "jobStatus": status}, "jobSummaryList"))

    def _pages(self, operation: str, body: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
        token: dict[str, Any] = {}
        while True:
            page = self._aws.call("batch", operation, body | token, watching=True)
            yield from page[key]
            if not page.get("nextToken"):
                return
            token = {"nextToken": page["nextToken"]}

    def _console(self, service_id: str) -> str:
        region = self._target.region
        return f"https://{region}.console.aws.amazon.com/batch/home?region={region}#jobs/detail/{service_id}"
