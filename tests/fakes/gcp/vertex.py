"""Fake of Vertex AI custom jobs: official messages over gRPC with TLS and over REST, documented rules, replicas as processes."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from google.cloud import aiplatform_v1
from google.rpc.code_pb2 import Code

from tests.fakes.gcp.cloud_logging import FakeLogging
from tests.fakes.gcp.vertex_endpoints import Fault, GrpcEndpoint, RefusalError, RestEndpoint
from tests.fakes.gcp.vertex_job import OVER, Job
from tests.fakes.gcp.vertex_replicas import Replicas
from tests.fakes.gcp.vertex_rules import broken_rules

types: Any = aiplatform_v1.types  # mypy cannot see the types that their metaclasses make
PROJECT, REGION = "acme-ml", "us-central1"
STOCKOUT = f"Resources are insufficient in region: {REGION}. Try a different region or use a different accelerator."
_FILTER = re.compile(r'(labels\.\w+|state)="([^"]*)"')


class FakeVertex:
    """The service. `environment`: the service account's and the network's variables in a container. `grace_s` replaces the service's 30 s.

    `machines` is the number of machines for all jobs together. A job without enough machines waits for at most `stockout_s`.
    """

    def __init__(self, folder: Path, logs: FakeLogging, environment: Mapping[str, str], *, grace_s: float = 30.0) -> None:
        self.folder, self.logs, self.environment, self.grace_s = folder, logs, dict(environment), grace_s
        self.jobs: dict[str, Job] = {}
        self.machines, self.stockout_s = 1000, float("inf")
        self.lock = threading.RLock()
        self.calls: list[tuple[str, Any, Mapping[str, str]]] = []
        self.broken: list[str] = []
        self.accepts: Callable[[str | None], bool] = lambda token: True
        self.strange: int | None = None  # a state that every job reports, as from a later version of the API
        self._faults: dict[tuple[str, int], Fault] = {}
        self._counts: dict[str, int] = {}
        self._ids = itertools.count(4_500_000_000_000_000_000)
        self._lives: list[threading.Thread] = []
        self.rest, self.grpc = RestEndpoint(self), GrpcEndpoint(self)

    def fail(self, operation: str, fault: Fault, *, call: int = 1, times: int = 1) -> None:
        """Fail the next `call`-th call of an operation (1 = the next one), and the `times` - 1 calls after it."""
        with self.lock:
            first = self._counts.get(operation, 0) + call
            self._faults |= {(operation, first + later): fault for later in range(times)}

    def count(self, operation: str) -> int:
        """Return the number of calls of an operation."""
        return self._counts.get(operation, 0)

    def clear_faults(self) -> None:
        """Remove all scripted faults."""
        self._faults.clear()

    def take(self, operation: str, request: Any, headers: Mapping[str, str]) -> tuple[Any, Fault | None]:
        """Record a call and do it. Return the response and the call's scripted fault. Raises RefusalError."""
        with self.lock:
            self.calls.append((operation, request, dict(headers)))
            number = self._counts[operation] = self._counts.get(operation, 0) + 1
            fault = self._faults.pop((operation, number), None)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if not self.accepts(token or None):
            raise RefusalError(Code.UNAUTHENTICATED, "Request had invalid authentication credentials.")
        if fault and fault.code:
            raise RefusalError(fault.code, fault.message, fault.reason)
        return {"CreateCustomJob": self._create, "GetCustomJob": self._get, "ListCustomJobs": self._list,
                "CancelCustomJob": self._cancel}[operation](request), fault  # fmt: skip

    def preempt(self, name: str) -> None:
        """Preempt a spot machine of a job."""
        job = self.jobs[name]
        assert job.message.job_spec.scheduling.strategy.name == "SPOT", "preempt() needs a job on spot machines"
        job.preempt.set()

    def __enter__(self) -> Self:
        self.rest.__enter__()
        self.grpc.start()
        return self

    def __exit__(self, *error: object) -> None:
        for job in self.jobs.values():
            job.cancel.set()
        for thread in self._lives:
            thread.join(60)
        self.grpc.stop()
        self.rest.__exit__()
        assert not self.broken, f"the fake Vertex has a bug: {self.broken}"

    def _create(self, request: Any) -> Any:
        if request.parent != f"projects/{PROJECT}/locations/{REGION}":
            raise RefusalError(Code.NOT_FOUND, f"no {request.parent} at this endpoint")
        if broken := broken_rules(request.custom_job):
            raise RefusalError(Code.INVALID_ARGUMENT, "; ".join(broken))
        message = types.CustomJob(request.custom_job)
        message.name = f"projects/1234567890/locations/{REGION}/customJobs/{next(self._ids)}"
        message.state = types.JobState.JOB_STATE_QUEUED
        message.create_time = message.update_time = datetime.now(UTC)
        job = Job(message)
        with self.lock:
            self.jobs[message.name] = job
        thread = threading.Thread(target=self._run, args=(job, len(self.jobs)), daemon=True)
        self._lives.append(thread)
        thread.start()
        return message

    def _get(self, request: Any) -> Any:
        found = self._job(request.name).message
        if self.strange is None:
            return found
        shown = types.CustomJob(found)
        types.CustomJob.pb(shown).state = self.strange
        return shown

    def _list(self, request: Any) -> Any:
        clauses = []
        for part in filter(None, request.filter.split(" AND ")):
            found = _FILTER.fullmatch(part.strip())
            if found is None:
                raise RefusalError(Code.INVALID_ARGUMENT, f"filter is not understood: {part}")
            clauses.append((found[1], found[2]))
        with self.lock:
            every = sorted(self.jobs.values(), key=lambda job: -job.created)
        chosen = [job.message for job in every if all(_has(job.message, name, value) for name, value in clauses)]
        start, size = int(request.page_token or 0), min(request.page_size or 50, 100)
        end = start + size
        return types.ListCustomJobsResponse(custom_jobs=chosen[start:end], next_page_token=str(end) if end < len(chosen) else "")

    def _cancel(self, request: Any) -> None:
        job = self._job(request.name)
        with self.lock:
            if job.over:
                raise RefusalError(Code.FAILED_PRECONDITION, f"CustomJob is in state {job.message.state.name} and cannot be canceled.")
            job.message.state = types.JobState.JOB_STATE_CANCELLING
        job.cancel.set()

    def _job(self, name: str) -> Job:
        found = self.jobs.get(name)
        if found is None:
            raise RefusalError(Code.NOT_FOUND, f"The CustomJob {name} does not exist.")
        return found

    def _run(self, job: Job, number: int) -> None:
        """Run a job: allocate machines, run its replicas, end it."""
        try:
            if not self._wait_for_machines(job):
                return
            self._set_status(job, "JOB_STATE_RUNNING")
            job.message.start_time = datetime.now(UTC)
            replicas = Replicas(self, job, number)
            limit_s = job.message.job_spec.scheduling.timeout.total_seconds() or 7 * 86400
            cause = self._watch(job, replicas, time.time() + limit_s)
            replicas.end(self.grace_s)
            job.holds = 0
            self._record_end(job, cause, replicas.failed)
        except Exception as error:  # a bug of the fake: the test must fail
            self.broken.append(repr(error))
            raise

    def _wait_for_machines(self, job: Job) -> bool:
        longest = job.message.job_spec.scheduling.max_wait_duration.total_seconds() if self._is_flex(job) else 0
        while not self._takes_machines(job):
            self._set_status(job, "JOB_STATE_PENDING")
            waited = time.time() - job.created
            if job.cancel.wait(0.02):
                self._end(job, "JOB_STATE_CANCELLED", Code.CANCELLED, "CANCELED")
                return False
            if longest and waited > longest:
                self._end(job, "JOB_STATE_EXPIRED", Code.DEADLINE_EXCEEDED, "The job waited for resources too long.")
                return False
            if waited > self.stockout_s and not self._is_flex(job):
                self._end(job, "JOB_STATE_FAILED", Code.RESOURCE_EXHAUSTED, STOCKOUT)
                return False
        return True

    def _is_flex(self, job: Job) -> bool:
        return bool(job.message.job_spec.scheduling.strategy.name == "FLEX_START")

    def _takes_machines(self, job: Job) -> bool:
        with self.lock:
            if job.cancel.is_set() or sum(other.holds for other in self.jobs.values()) + job.nodes > self.machines:
                return False
            job.holds = job.nodes
            return True

    def _watch(self, job: Job, replicas: Replicas, until: float) -> str | None:
        """Return the reason to end the replicas, or None if they exited by themselves."""
        while not replicas.ended:
            if job.cancel.is_set():
                return "cancel"
            if job.preempt.is_set():
                return "preempt"
            if time.time() > until:
                return "timeout"
            time.sleep(0.02)
        return None

    def _record_end(self, job: Job, cause: str | None, failed: tuple[str, int] | None) -> None:
        if cause == "preempt":
            self._end(job, "JOB_STATE_FAILED", Code.RESOURCE_EXHAUSTED, STOCKOUT)
        elif cause is not None:
            self._end(job, "JOB_STATE_CANCELLED", Code.CANCELLED, "CANCELED")
        elif failed is not None:
            text = f"The replica {failed[0]} exited with a non-zero status of {failed[1]}. Termination reason: Error. To find out more"
            self._end(job, "JOB_STATE_FAILED", Code.INTERNAL, f"{text} about why your job exited please check the logs")
        else:
            self._end(job, "JOB_STATE_SUCCEEDED", None, "")

    def _set_status(self, job: Job, state: str) -> None:
        with self.lock:
            if job.message.state.name not in {*OVER, "JOB_STATE_CANCELLING"}:
                job.message.state = types.JobState[state]

    def _end(self, job: Job, state: str, code: int | None, text: str) -> None:
        with self.lock:
            job.message.end_time = datetime.now(UTC)
            if code is not None:
                job.message.error = {"code": code, "message": text}
            job.message.state = types.JobState[state]  # set last, so that a reader of the final state sees all fields


def _has(message: Any, name: str, value: str) -> bool:
    return bool(message.state.name == value if name == "state" else message.labels.get(name.removeprefix("labels.")) == value)
