"""The service `batch`: AWS Batch jobs. A run of several nodes is a multi-node parallel job.

SubmitJob takes no client token. So each submission has a deterministic name, by which a later submit finds it after a crash.
`submit_once` prevents a second job when the answer of a call is lost.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ....problems import Problem
from ...clouds import Json
from ...clouds.aws import AwsClients, aws_clients
from ...clouds.aws_errors import error_code, error_kind
from ...errors import UsageError
from ...run import Run
from ...state import State
from ...target import BatchTarget
from ..base import Capacity, LogLine, Request, ServiceStatus, require_same_job
from ..submit_once import SUBMIT_WINDOW_S, submit_once
from .definitions import Definitions
from .environment import wait_reason
from .logs import LogReader
from .request import job_name, requests
from .states import CANCELLED, is_overtime, status_of

__all__ = ["BatchBackend"]

_QUEUE_CHECK_S = 60.0
_PER_DESCRIBE = 100
_queue_checked: dict[tuple[int, str], float] = {}
"""(clients, queue) -> time.monotonic of the last successful check of the queue. It is checked once a minute."""


class BatchBackend:
    """Jobs of one pool on its Batch queue (backends/base.py describes the methods)."""

    poll_s = 5.0
    job_id = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

    def __init__(self, target: BatchTarget, *, aws: AwsClients | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._target, self._sleep = target, sleep
        self._aws = aws or aws_clients(target.region)
        self._definitions = Definitions(self._aws, target)

    def request(self, run: Run) -> list[Request]:
        """Return the calls RegisterJobDefinition and SubmitJob. `submit` skips the first if the definition exists."""
        return requests(run, self._target)

    def submit(self, run: Run) -> str:
        """Submit the job. Registers its definition first if Batch has no active definition of that name."""
        until = time.monotonic() + SUBMIT_WINDOW_S
        definition, submission = (request.body for request in self.request(run))
        try:
            return self._submit(run, submission, until)
        except UsageError as error:
            if error_code(error.__cause__) != "ClientException" or not self._definitions.ensure(definition):
                raise
        return self._submit(run, submission, until)

    def _submit(self, run: Run, body: Json, until: float) -> str:
        def attempt() -> str:
            return str(self._aws.call("batch", "submit_job", body, single_attempt=True)["jobId"])

        return submit_once(attempt, lambda: self.find(run), error_kind, self._sleep, until=until)

    def find(self, run: Run) -> str | None:
        """Find a submission by its name. If several jobs have the name, return the oldest."""
        wanted = job_name(run)
        body = {"jobQueue": self._target.job_queue, "filters": [{"name": "JOB_NAME", "values": [wanted]}]}
        found = [job for job in self._list(body) if job["jobName"] == wanted]
        return str(min(found, key=lambda job: (job.get("createdAt", 0), job["jobId"]))["jobId"]) if found else None

    def status(self, service_id: str) -> ServiceStatus:
        """Describe one job. Batch forgets a job 7 days after its end."""
        return self.statuses([service_id])[service_id]

    def statuses(self, service_ids: Sequence[str]) -> dict[str, ServiceStatus]:
        """Describe many jobs, 100 per call."""
        found = self._describe(service_ids)
        return {service_id: self._status(service_id, found.get(service_id)) for service_id in service_ids}

    def _status(self, service_id: str, job: Json | None) -> ServiceStatus:
        if job is None:
            return ServiceStatus(State.UNKNOWN, detail="AWS Batch does not know this job; it forgets jobs 7 days after their end")
        waits = wait_reason(self._aws, self._target.job_queue) if job["status"] == "RUNNABLE" else ""
        found = status_of(job, spot=self._target.spot, console_url=self._console(service_id), waits_for=waits)
        return replace(found, overtime=is_overtime(job, time.time()))

    def _describe(self, service_ids: Sequence[str]) -> dict[str, Json]:
        """Return the jobs that Batch knows. A dict: job id -> description."""
        found: dict[str, Json] = {}
        for start in range(0, len(service_ids), _PER_DESCRIBE):
            body = {"jobs": list(service_ids[start : start + _PER_DESCRIBE])}
            found |= {job["jobId"]: job for job in self._aws.call("batch", "describe_jobs", body, job_may_run=True)["jobs"]}
        return found

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """Read the containers' log streams, including earlier attempts of Batch."""
        return LogReader(self._aws, self._target.log_group, service_id, node, since).lines(follow, self.poll_s)

    def cancel(self, service_id: str, run: Run) -> None:
        """Call TerminateJob. It stops a job in any state and has no effect on an ended job. The job must have the submission's name."""
        job = self._describe([service_id]).get(service_id)
        if job is None:
            return
        require_same_job(run, job["jobName"], job_name(run))
        self._aws.call("batch", "terminate_job", {"jobId": service_id, "reason": CANCELLED})

    def capacity(self) -> Capacity:
        """Return the numbers of nodes and free nodes. Raises UsageError for a queue that takes no jobs."""
        self.ready()
        running = self._in_state("RUNNING") + self._in_state("STARTING")
        waiting = self._in_state("SUBMITTED") + self._in_state("PENDING") + self._in_state("RUNNABLE")
        used = sum(job.get("nodeProperties", {}).get("numNodes", 1) for job in running)
        return Capacity(self._target.max_nodes, max(0, self._target.max_nodes - used), len(waiting))

    def principal(self) -> str | None:
        """Return the ARN that STS reports."""
        return self._aws.principal

    def ready(self) -> None:
        """Check that the queue exists and takes jobs. The result is cached for a minute. Raises UsageError."""
        key = (id(self._aws), self._target.job_queue)
        if time.monotonic() - _queue_checked.get(key, -_QUEUE_CHECK_S) < _QUEUE_CHECK_S:
            return
        queues = self._aws.call("batch", "describe_job_queues", {"jobQueues": [self._target.job_queue]})["jobQueues"]
        problem = Problem("pool", "its queue takes no jobs", fix="run `pulumi up` of the stack, or choose another pool")
        if not queues:
            raise UsageError(f"pool '{self._target.pool}' has no queue {self._target.job_queue} in {self._target.region}", [problem])
        if (queues[0]["state"], queues[0].get("status", "VALID")) != ("ENABLED", "VALID"):
            state = f"{queues[0]['state']}, {queues[0].get('status')}: {queues[0].get('statusReason') or 'no reason given'}"
            raise UsageError(f"the queue of pool '{self._target.pool}' is {state}", [problem])
        _queue_checked[key] = time.monotonic()

    def _in_state(self, status: str) -> list[Json]:
        return list(self._list({"jobQueue": self._target.job_queue, "jobStatus": status}))

    def _list(self, body: Json) -> Iterator[Json]:
        while True:
            page = self._aws.call("batch", "list_jobs", body, job_may_run=True)
            yield from page["jobSummaryList"]
            if not page.get("nextToken"):
                return
            body = {**body, "nextToken": page["nextToken"]}

    def _console(self, service_id: str) -> str:
        region = self._target.region
        return f"https://{region}.console.aws.amazon.com/batch/home?region={region}#jobs/detail/{service_id}"
