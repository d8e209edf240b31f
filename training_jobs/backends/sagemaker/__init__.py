"""The service `sagemaker`: a training job for each submission, on machines that SageMaker holds while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...clouds.aws import AwsClients, aws_clients
from ...clouds.aws_errors import error_code
from ...errors import AuthError, ConflictError, GpuyardError
from ...run import Run
from ...state import State
from ...target import SageMakerTarget
from ..base import Capacity, LogLine, Request, ServiceStatus
from ..node_results import exit_codes
from .logs import lines
from .request import body_of, name_of
from .states import of_summary, status_of

_CONSOLES = {"aws": "console.aws.amazon.com", "aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}

_PER_LIST = 100


class SageMakerBackend:
    """Training jobs of one target (see backends/base.py for what each method promises).

    The name of a training job is the run's and unique in the account, so the service itself refuses to start one twice.
    """

    poll_s = 5.0

    def __init__(self, target: SageMakerTarget, *, aws: AwsClients | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._target, self._aws, self._sleep = target, aws or aws_clients(target.region), sleep

    def request(self, run: Run) -> list[Request]:
        """One CreateTrainingJob."""
        return [Request("CreateTrainingJob", body_of(run, self._target))]

    def submit(self, run: Run) -> str:
        """Create it; a name that is taken is this submission's own, made by a call whose answer was lost or by somebody quicker."""
        name = name_of(run, self._target)
        try:
            self._call("create_training_job", self.request(run)[0].body, watching=False)
        except GpuyardError as error:
            if error_code(error.__cause__) != "ResourceInUse":
                raise
            found = self.find(run)
            if found is None:
                raise
        return name

    def find(self, run: Run) -> str | None:
        """The name is deterministic: it is there or it is not. Raises ConflictError when it is not this run's."""
        name = name_of(run, self._target)
        job = self._describe(name)
        if job is None:
            return None
        if job.get("Environment", {}).get("GPUYARD_RUN_URL") != run.url:
            raise ConflictError(f"the training job {name} is there and is not run {run.id}'s; use another request key")
        return name

    def status(self, service_id: str) -> ServiceStatus:
        """One DescribeTrainingJob; at the end of one that failed, also what its nodes left in the run bucket."""
        job = self._describe(service_id)
        if job is None:
            return ServiceStatus(State.UNKNOWN, detail=f"SageMaker knows no training job {service_id}")
        environment, nodes = job.get("Environment", {}), int(job["ResourceConfig"]["InstanceCount"])
        url, submission = environment.get("GPUYARD_RUN_URL", ""), environment.get("GPUYARD_SUBMISSION", "")
        return status_of(job, lambda: exit_codes(url, submission, nodes), self._console(service_id))

    def statuses(self, service_ids: Sequence[str]) -> dict[str, ServiceStatus]:
        """The same of many jobs: one list of the stack's jobs in progress for each hundred; asked about alone is what it does not tell."""
        listed = self._in_progress(len(service_ids))
        found = {name: of_summary(listed[name], self._console(name)) if name in listed else None for name in service_ids}
        return {name: status or self.status(name) for name, status in found.items()}

    def _in_progress(self, jobs: int) -> dict[str, dict[str, Any]]:
        """The newest of the stack's jobs in progress, by name: as many pages as so many jobs can fill. Nothing for who may not list."""
        body: dict[str, Any] = {
            "NameContains": self._target.job_prefix, "StatusEquals": "InProgress", "SortBy": "CreationTime", "SortOrder": "Descending",
            "MaxResults": _PER_LIST,
        }  # fmt: skip
        found: dict[str, dict[str, Any]] = {}
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
        """The hosts' streams in CloudWatch, merged by time; a restart's streams are found while they are followed."""
        job = self._describe(service_id)
        if job is None:
            return
        hosts = int(job["ResourceConfig"]["InstanceCount"])

        def over() -> bool:
            described = self._describe(service_id)
            return described is None or described["TrainingJobStatus"] in {"Completed", "Failed", "Stopped"}

        yield from lines(
            lambda operation, body: self._aws.call("logs", operation, body, watching=True),
            self._target.log_group, service_id, hosts, node=node, since=since,
            over=over if follow else None, pause=lambda: self._sleep(self.poll_s),
        )  # fmt: skip

    def cancel(self, service_id: str) -> None:
        """StopTrainingJob: SIGTERM, and two minutes for a last checkpoint. One that has ended refuses, and that is all right."""
        try:
            self._call("stop_training_job", {"TrainingJobName": service_id})
        except GpuyardError as error:
            if not _refused(error, "ValidationException", "ResourceNotFound"):
                raise
            job = self._describe(service_id)
            if job is not None and job["TrainingJobStatus"] in {"InProgress"}:
                raise

    def capacity(self) -> Capacity:
        """The pool's size. SageMaker does not tell what is free, so nothing is known to be taken."""
        return Capacity(self._target.max_nodes, self._target.max_nodes, 0)

    def ready(self) -> None:
        """Nothing to ask: the call that creates a job tells, and its name makes it safe to have written the job down before."""

    def _describe(self, name: str) -> dict[str, Any] | None:
        try:
            return self._call("describe_training_job", {"TrainingJobName": name})
        except GpuyardError as error:
            if _refused(error, "ResourceNotFound") or (_refused(error, "ValidationException") and "not found" in str(error)):
                return None
            raise

    def _call(self, operation: str, body: dict[str, Any], *, watching: bool = True) -> dict[str, Any]:
        return self._aws.call("sagemaker", operation, body, watching=watching)

    def _console(self, name: str) -> str:
        region = self._target.region
        domain = _CONSOLES.get(self._target.role.split(":")[1], _CONSOLES["aws"])
        return f"https://{region}.{domain}/sagemaker/home?region={region}#/jobs/{name}"


def _refused(error: GpuyardError, *codes: str) -> bool:
    return error_code(error.__cause__) in codes
