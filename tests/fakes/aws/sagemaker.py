"""Fake of SageMaker training jobs: documented rules, states and reasons, with each host of a job as a real process."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.fakes.aws.botocore_service import Body, FakeService, RefusalError
from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.fakes.aws.sagemaker_hosts import Hosts

GROUP = "/aws/sagemaker/TrainingJobs"
_ECR = re.compile(r"^[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/[^@:]+(:[\w.-]+|@sha256:[0-9a-f]{64})$")
_OWN_DISKS = re.compile(r"^ml\.(g4dn|g5|g6|g6e|p4d|p5|p5en)\.")
_LONGEST_S = 28 * 86400


@dataclass
class Job:
    """One training job: its request, its state, and the requests to the thread that runs it."""

    body: Body
    status: str = "InProgress"
    secondary: str = "Starting"
    reason: str | None = None
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    ended_at: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    history: list[tuple[str, float]] = field(default_factory=lambda: [("Starting", time.time())])
    holds: int = 0
    interruptions: int = 0
    interrupted: int = 0

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.body["TrainingJobName"])

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in {"Completed", "Failed", "Stopped"}


class FakeSageMaker(FakeService):
    """The service. `environment`: the role's and the network's variables in a container. `grace_s` replaces the service's 120 s.

    `machines` is the number of machines for all jobs together. A job without enough machines waits, and fails as documented.
    """

    name = "sagemaker"

    def __init__(self, folder: Path, logs: FakeLogs, environment: Mapping[str, str], *, grace_s: float = 30.0) -> None:
        super().__init__()
        self.folder, self.logs, self.environment, self.grace_s = folder, logs, dict(environment), grace_s
        self.jobs: dict[str, Job] = {}
        self.machines, self.page = 1000, 100
        self.group = logs.group(GROUP)
        self.longest_pending_s: Callable[[Body], float | None] = lambda stopping: stopping.get("MaxPendingTimeInSeconds")
        self._lives: list[threading.Thread] = []

    def create_training_job(self, body: Body) -> Body:
        """Create a job. Its name must never have been used."""
        arn = self.arn(f"training-job/{body['TrainingJobName'].lower()}")
        self._check(body)
        with self.lock:
            if body["TrainingJobName"] in self.jobs:
                text = (
                    "Training Job names must be unique within an AWS account and region, and a training job with this name already exists"
                )
                raise RefusalError("ResourceInUse", f"{text} ({arn})")
            job = self.jobs[body["TrainingJobName"]] = Job(body)
        thread = threading.Thread(target=self._run, args=(job,), daemon=True)
        self._lives.append(thread)
        thread.start()
        return {"TrainingJobArn": arn}

    def describe_training_job(self, body: Body) -> Body:
        """Return the job's description."""
        job = self._job(body)
        documents = self.model.shape_for("DescribeTrainingJobResponse").members  # the response has no tags
        requested = {name: value for name, value in job.body.items() if name in documents}
        with self.lock:  # status and secondary status change together
            return {
                **requested,
                "TrainingJobArn": self.arn(f"training-job/{job.name}"),
                "ModelArtifacts": {"S3ModelArtifacts": f"{job.body['OutputDataConfig']['S3OutputPath']}/{job.name}/output/model.tar.gz"},
                "TrainingJobStatus": job.status,
                "SecondaryStatus": job.secondary,
                "FailureReason": job.reason,
                "SecondaryStatusTransitions": [{"Status": word, "StartTime": datetime.fromtimestamp(at, UTC)} for word, at in job.history],
                "CreationTime": datetime.fromtimestamp(job.created_at, UTC),
                "LastModifiedTime": datetime.fromtimestamp(job.history[-1][1], UTC),
                "TrainingStartTime": datetime.fromtimestamp(job.started_at, UTC) if job.started_at else None,
                "TrainingEndTime": datetime.fromtimestamp(job.ended_at, UTC) if job.ended_at else None,
            }

    def list_training_jobs(self, body: Body) -> Body:
        """Return summaries, newest first, in pages of at most `page`."""
        with self.lock:
            jobs = sorted(self.jobs.values(), key=lambda job: -job.created_at)
        jobs = [job for job in jobs if body["NameContains"] in job.name and job.status == body["StatusEquals"]]
        start = int(body.get("NextToken", "0"))
        end = start + min(self.page, body["MaxResults"])
        kept = ("TrainingJobName", "TrainingJobArn", "CreationTime", "LastModifiedTime", "TrainingJobStatus", "SecondaryStatus")
        documents = [self.describe_training_job({"TrainingJobName": job.name}) for job in jobs[start:end]]
        page: Body = {"TrainingJobSummaries": [{key: job[key] for key in kept} for job in documents]}
        return page | ({"NextToken": str(end)} if end < len(jobs) else {})

    def stop_training_job(self, body: Body) -> None:
        """Request a stop. Raises RefusalError if the job has ended."""
        job = self._job(body)
        with self.lock:
            if job.over:
                text = f"The request was rejected because the training job is in status {job.status}"
                raise RefusalError("ValidationException", text)
            if job.status == "InProgress":
                job.status = job.secondary = "Stopping"
            job.stop.set()

    def interrupt(self, name: str) -> None:
        """Interrupt the spot machines of a job."""
        job = self.jobs[name]
        assert job.body.get("EnableManagedSpotTraining"), "interrupt() needs a job on spot machines"
        job.interruptions += 1

    def __exit__(self, *error: object) -> None:
        for job in self.jobs.values():
            job.stop.set()
        for thread in self._lives:
            thread.join(60)
        super().__exit__(*error)

    def _job(self, body: Body) -> Job:
        with self.lock:
            if body["TrainingJobName"] not in self.jobs:
                raise RefusalError("ValidationException", "Requested resource not found.")  # the service's own code for a missing job
            return self.jobs[body["TrainingJobName"]]

    def _check(self, body: Body) -> None:
        spot, stopping = body.get("EnableManagedSpotTraining", False), body.get("StoppingCondition", {})
        runtime, wait = stopping.get("MaxRuntimeInSeconds", 86400), stopping.get("MaxWaitTimeInSeconds")
        resources = body.get("ResourceConfig", {})
        rules = [
            (spot and wait is None, "MaxWaitTimeInSeconds must be specified when EnableManagedSpotTraining is true"),
            (not spot and wait is not None, "MaxWaitTimeInSeconds must not be specified when EnableManagedSpotTraining is false"),
            (wait is not None and wait < runtime, "MaxWaitTimeInSeconds must be equal to or greater than MaxRuntimeInSeconds"),
            (runtime > _LONGEST_S, "MaxRuntimeInSeconds must be at most 28 days"),
            (
                resources.get("InstanceCount", 0) < 1 or "InstanceType" not in resources,
                "ResourceConfig needs InstanceType and InstanceCount",
            ),
            (spot and resources.get("KeepAlivePeriodInSeconds"), "KeepAlivePeriodInSeconds cannot be used with managed spot training"),
            ("VolumeKmsKeyId" in resources and _OWN_DISKS.match(resources["InstanceType"]), "VolumeKmsKeyId: the type has local storage"),
            (not _ECR.match(body["AlgorithmSpecification"].get("TrainingImage", "")), "TrainingImage is not in Amazon ECR"),
            (len({tag["Key"] for tag in body.get("Tags", ())}) != len(body.get("Tags", ())), "Duplicate tag keys"),
        ]
        for broken, text in rules:
            if broken:
                raise RefusalError("ValidationException", text)

    def _run(self, job: Job) -> None:
        """Run a job: allocate machines, run its hosts, end it. After a spot interruption, do it again."""
        stopping, spot = job.body.get("StoppingCondition", {}), job.body.get("EnableManagedSpotTraining", False)
        deadline = job.created_at + stopping["MaxWaitTimeInSeconds"] if spot else None
        run_s, turn = 0.0, 0
        while True:
            if not self._wait_for_machines(job, deadline):
                return
            began = time.time()
            job.started_at = job.started_at or began
            self._set_status(job, "Training")
            hosts = Hosts(self, job.body, turn)
            left = stopping.get("MaxRuntimeInSeconds", 86400) - run_s
            cause = self._watch(job, hosts, began + left, deadline)
            hosts.end(self.grace_s)
            if cause != "Interrupted":
                hosts.upload(job.body)
            job.holds = 0
            run_s, turn = run_s + time.time() - began, turn + 1
            if cause != "Interrupted":
                self._record_end(job, cause, hosts.failed)
                return
            job.interrupted += 1
            self._set_status(job, "Interrupted")

    def _wait_for_machines(self, job: Job, deadline: float | None) -> bool:
        patience = self.longest_pending_s(job.body.get("StoppingCondition", {}))
        while not self._takes_machines(job):
            if job.interrupted == 0:
                self._set_status(job, "Pending")
            if job.stop.wait(0.02):
                self._end(job, "Stopped", "Stopped")
                return False
            if deadline is not None and time.time() > deadline:
                self._end(job, "Stopped", "MaxWaitTimeExceeded")
                return False
            if patience is not None and time.time() > job.created_at + patience:
                self._end(job, "Failed", "Failed", "CapacityError: Unable to provision requested ML compute capacity. Please retry.")
                return False
        return True

    def _takes_machines(self, job: Job) -> bool:
        with self.lock:
            count = int(job.body["ResourceConfig"]["InstanceCount"])
            if sum(other.holds for other in self.jobs.values()) + count > self.machines:
                return False
            job.holds = count
            return True

    def _watch(self, job: Job, hosts: Hosts, until: float, deadline: float | None) -> str | None:
        """Return the reason to end the hosts, or None if they exited by themselves."""
        while not hosts.ended:
            if job.stop.is_set():
                return "Stopped"
            if job.interruptions > job.interrupted:
                return "Interrupted"
            if time.time() > until:
                return "MaxRuntimeExceeded"
            if deadline is not None and time.time() > deadline:
                return "MaxWaitTimeExceeded"
            time.sleep(0.02)
        return None

    def _record_end(self, job: Job, cause: str | None, failed: int | None) -> None:
        if cause is not None:
            self._end(job, "Stopped", cause)
        elif failed is not None:
            self._end(job, "Failed", "Failed", f"AlgorithmError: , exit code: {failed}")
        else:
            self._end(job, "Completed", "Completed")

    def _set_status(self, job: Job, secondary: str) -> None:
        with self.lock:
            if job.status == "InProgress" and job.secondary != secondary:
                job.secondary = secondary
                job.history.append((secondary, time.time()))

    def _end(self, job: Job, status: str, secondary: str, reason: str | None = None) -> None:
        with self.lock:
            job.ended_at = time.time()
            job.secondary, job.reason = secondary, reason
            job.history.append((secondary, job.ended_at))
            job.status = status  # set last, so that a reader of the final status sees all fields
