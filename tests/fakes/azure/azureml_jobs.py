"""Life cycle of the jobs of one fake Azure ML cluster: waiting, running, cancelled, preempted, timed out, ended."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from gpuyard.training_jobs.backends.azureml.request import parse_duration
from tests.fakes.azure.azureml_nodes import Nodes
from tests.fakes.azure.https_service import Body

ENDED = {"Completed", "Failed", "Canceled"}


@dataclass
class Job:
    """One job: its request, its state, and the requests to the thread that runs it."""

    name: str
    properties: Body
    status: str = "NotStarted"
    error: Body | None = None
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    ended_at: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    holds: int = 0
    preemptions_done: int = 0
    preemptions_requested: int = 0
    files: dict[str, bytearray] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        return int(self.properties["resources"]["instanceCount"])


class Cluster:
    """The cluster's state, shared by the service and the jobs' threads."""

    lock: threading.RLock
    folder: Path
    environment: dict[str, str]
    jobs: dict[str, Job]
    machines: int
    requeues: bool
    grace_s: float

    def _run(self, job: Job) -> None:
        """Run a job: allocate nodes, run them, end it. After a preemption, do it again."""
        limit_s, turn = parse_duration(job.properties["limits"]["timeout"]), 0
        while self._wait_for_machines(job):
            began = time.time()
            job.started_at = job.started_at or began
            self._set_status(job, "Running")
            nodes = Nodes(self, job, turn)
            cause = self._watch(job, nodes, began + limit_s)
            nodes.end(self.grace_s)
            job.holds, turn = 0, turn + 1
            if cause != "preempted":
                self._record_end(job, cause, nodes.failed)
                return
            job.preemptions_done += 1
            if not self.requeues:
                self._end(job, "Failed", {"code": "ServiceError", "message": "The low priority nodes of the job were preempted."})
                return
        self._end(job, "Canceled")

    def _wait_for_machines(self, job: Job) -> bool:
        while True:
            with self.lock:
                if sum(other.holds for other in self.jobs.values()) + job.nodes <= self.machines:
                    job.holds = job.nodes
                    return not job.stop.is_set()
            self._set_status(job, "Queued")
            if job.stop.wait(0.02):
                return False

    def _watch(self, job: Job, nodes: Nodes, until: float) -> str | None:
        """Return the reason to end the nodes, or None if they exited by themselves."""
        while not nodes.ended:
            if job.stop.is_set():
                return "cancelled"
            if job.preemptions_requested > job.preemptions_done:
                return "preempted"
            if time.time() > until:
                return "timeout"
            time.sleep(0.02)
        return None

    def _record_end(self, job: Job, cause: str | None, failed: int | None) -> None:
        if cause is not None:
            self._end(job, "Canceled")
        elif failed is not None:
            text = (
                f"Execution failed. User process 'python3' exited with status code {failed}. Please check log file 'user_logs/std_log.txt'."
            )
            self._end(job, "Failed", {"code": "UserError", "message": text})
        else:
            self._end(job, "Completed")

    def _set_status(self, job: Job, status: str) -> None:
        with self.lock:
            if job.status not in {*ENDED, "CancelRequested"}:
                job.status = status

    def _end(self, job: Job, status: str, error: Body | None = None) -> None:
        with self.lock:
            job.holds, job.ended_at, job.error = 0, time.time(), error
            job.status = status  # set last, so that a reader of the final status sees all fields
