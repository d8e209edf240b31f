"""The service `sagemaker`: one SageMaker training job for each submission, on machines that SageMaker provides."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence

from ...clouds import Json
from ...clouds.aws import AwsClients, aws_clients
from ...clouds.aws_errors import error_code
from ...errors import AuthError, GpuyardError
from ...run import Run
from ...state import State
from ...target import SageMakerTarget
from ..base import Capacity, LogLine, Request, ServiceStatus, require_same_run
from ..node_results import node_exit_codes
from .logs import LogReader
from .request import job_name, request_body
from .states import ENDED, status_of, summary_status

__all__ = ["SageMakerBackend"]

_CONSOLES = {"aws": "console.aws.amazon.com", "aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}
_PER_LIST = 100


class SageMakerBackend:
    """Training jobs of one pool (backends/base.py describes the methods).

    A training job's name depends only on the run and is unique in the account. So SageMaker refuses to start it twice.
    """

    poll_s = 5.0
    job_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")

    def __init__(self, target: SageMakerTarget, *, aws: AwsClients | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._target, self._aws, self._sleep = target, aws or aws_clients(target.region), sleep

    def request(self, run: Run) -> list[Request]:
        """Return one CreateTrainingJob."""
        return [Request("CreateTrainingJob", request_body(run, self._target))]

    def submit(self, run: Run) -> str:
        """Create the training job. If the name exists, an earlier or parallel call has created the same job."""
        name = job_name(run, self._target)
        try:
            self._call("create_training_job", self.request(run)[0].body, job_may_run=False)
        except GpuyardError as error:
            if error_code(error.__cause__) != "ResourceInUse":
                raise
            if self.find(run) is None:
                raise
        return name

    def find(self, run: Run) -> str | None:
        """Find the training job by its deterministic name. Raises ConflictError if it belongs to another run."""
        name = job_name(run, self._target)
        job = self._describe(name)
        if job is None:
            return None
        require_same_run(run, name, job.get("Environment", {}))
        return name

    def status(self, service_id: str) -> ServiceStatus:
        """Describe one training job. If it failed, also read its nodes' exit codes from the run bucket."""
        job = self._describe(service_id)
        if job is None:
            return ServiceStatus(State.UNKNOWN, detail=f"SageMaker has no training job {service_id}")
        environment, nodes = job.get("Environment", {}), int(job["ResourceConfig"]["InstanceCount"])
        return status_of(job, lambda: node_exit_codes(environment, nodes), self._console(service_id))

    def statuses(self, service_ids: Sequence[str]) -> dict[str, ServiceStatus]:
        """List the stack's jobs in progress, 100 per call. Describe a job only if its list entry does not show its state."""
        listed = self._in_progress(len(service_ids))
        found = {name: summary_status(listed[name], self._console(name)) if name in listed else None for name in service_ids}
        return {name: status or self.status(name) for name, status in found.items()}

    def _in_progress(self, jobs: int) -> dict[str, Json]:
        """List the stack's newest jobs in progress by name, at least `jobs` of them. Empty if the caller may not list jobs."""
        body: Json = {
            "NameContains": self._target.job_prefix, "StatusEquals": "InProgress", "SortBy": "CreationTime", "SortOrder": "Descending",
            "MaxResults": _PER_LIST,
        }  # fmt: skip
        found: dict[str, Json] = {}
        for _ in range(-(-jobs // _PER_LIST)):
            try:
                page = self._call("list_training_jobs", body)
            except AuthError:
                return found
            found |= {summary["TrainingJobName"]: summary for summary in page["TrainingJobSummaries"]}
            if not page.get("NextToken"):
                break
            body["NextToken"] = page["NextToken"]
        return found

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """Read the hosts' CloudWatch log streams. With `follow`, also read new streams after a restart."""
        job = self._describe(service_id)
        if job is None:
            return
        hosts = int(job["ResourceConfig"]["InstanceCount"])

        def ended() -> bool:
            described = self._describe(service_id)
            return described is None or described["TrainingJobStatus"] in ENDED

        reader = LogReader(self._aws, self._target.log_group, service_id, hosts, node=node, since=since)
        yield from reader.lines(follow, ended, lambda: self._sleep(self.poll_s))

    def cancel(self, service_id: str, run: Run) -> None:
        """Call StopTrainingJob: SIGTERM, then SIGKILL after 120 s. A refusal because the job has ended is ignored."""
        job = self._describe(service_id)
        if job is None:
            return
        require_same_run(run, service_id, job.get("Environment", {}))
        try:
            self._call("stop_training_job", {"TrainingJobName": service_id})
        except GpuyardError as error:
            if not _has_code(error, "ValidationException", "ResourceNotFound"):
                raise
            job = self._describe(service_id)
            if job is not None and job["TrainingJobStatus"] == "InProgress":
                raise

    def capacity(self) -> Capacity:
        """Report all nodes as free, because SageMaker does not report which machines are in use."""
        return Capacity(self._target.max_nodes, self._target.max_nodes, 0)

    def principal(self) -> str | None:
        """Return the ARN that STS reports."""
        return self._aws.principal

    def ready(self) -> None:
        """Do nothing: CreateTrainingJob itself reports problems, and the job's unique name makes a retry safe."""

    def _describe(self, name: str) -> Json | None:
        try:
            return self._call("describe_training_job", {"TrainingJobName": name})
        except GpuyardError as error:
            if _has_code(error, "ResourceNotFound") or (_has_code(error, "ValidationException") and "not found" in str(error)):
                return None
            raise

    def _call(self, operation: str, body: Json, *, job_may_run: bool = True) -> Json:
        return self._aws.call("sagemaker", operation, body, job_may_run=job_may_run)

    def _console(self, name: str) -> str:
        region = self._target.region
        domain = _CONSOLES.get(self._target.role.split(":")[1], _CONSOLES["aws"])
        return f"https://{region}.{domain}/sagemaker/home?region={region}#/jobs/{name}"


def _has_code(error: GpuyardError, *codes: str) -> bool:
    return error_code(error.__cause__) in codes
