"""The service `local`: a queue over the nodes of a pool on this machine, without a daemon.

Waiting jobs start on a submit, a wait or a cancel, and when a job ends. Commands that only read (status, list, logs, fetch) start no job.
"""

from __future__ import annotations

import heapq
import os
import pwd
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from ...run import Run
from ...state import Reason, State
from ...target import LocalTarget
from ..base import Capacity, LogLine, Request, ServiceStatus, require_same_run, run_variables
from .files import JobEntry
from .node_log import NodeLog
from .pool import Pool

__all__ = ["GRACE_S", "LocalBackend"]

GRACE_S = 30  # between SIGTERM and SIGKILL


class LocalBackend:
    """Jobs of one local pool (backends/base.py describes the methods)."""

    poll_s = 0.2
    job_id = re.compile(r"[a-z0-9][a-z0-9-]*\.[0-9]+(-[0-9a-f]+)?")

    def __init__(self, target: LocalTarget) -> None:
        self._pool = Pool(Path(target.pool_dir))

    def request(self, run: Run) -> list[Request]:
        """Return one entry of the pool's queue."""
        body = {
            "run_id": run.id,
            "nodes": run.spec.nodes,
            "limit_s": run.limit_s,
            "limit_reason": run.limit_reason,
            "queue_timeout_s": run.spec.queue_timeout,
            "grace_s": GRACE_S,
            "environment": run_variables(run),
        }
        return [Request("enqueue", {"job": run.name, **body})]

    def submit(self, run: Run) -> str:
        """Add the job to the queue if it is not there yet."""
        body = dict(self.request(run)[0].body)
        name, queue_timeout = body.pop("job"), body.pop("queue_timeout_s")
        now = time.time()
        expires = now + queue_timeout if queue_timeout is not None else None
        entry = {**body, "submitted_at": now, "expires_at": expires, "started_at": None}
        self._pool.enqueue(name, cast(JobEntry, entry))
        return str(name)

    def find(self, run: Run) -> str | None:
        """Find the job by its deterministic name."""
        return run.name if self._pool.job(run.name) is not None else None

    def status(self, service_id: str) -> ServiceStatus:
        """Read the job's entry. First record the end of jobs whose supervisor was killed. Starts no job."""
        self._pool.recover()
        job = self._pool.job(service_id)
        if job is None:
            return ServiceStatus(State.FAILED, Reason.INFRA, detail="the pool was recreated after the job was submitted")
        detail = job.get("detail")
        if job["state"] == State.PENDING and self._pool.holds_nodes(service_id, job["run_id"]):
            detail = "nodes allocated, starting"
        elif job["state"] == State.PENDING:
            capacity = self.capacity()
            detail = f"nodes {capacity.free} of {capacity.nodes} free, needs {job['nodes']}; {capacity.waiting} waiting"
            if self._pool.is_next(service_id, job["nodes"]):
                detail += "; `gpuyard wait` or the next submit starts it"
        elif job["state"] == State.RUNNING and (pid := self._pool.stopped_supervisor(service_id, job)):
            detail = f"a signal stopped its supervisor; run kill -CONT {pid} to continue, or gpuyard cancel {job['run_id']} to end the job"
        if not job.get("ended_at") and (ignored := self._pool.damaged()):
            detail = "; ".join(filter(None, [detail, f"ignored files in {self._pool.directory}: {', '.join(ignored)}"]))
        reason = job.get("reason")
        return ServiceStatus(
            State(job["state"]),
            Reason(reason) if reason else None,
            job.get("exit_code"),
            job.get("started_at"),
            job.get("ended_at"),
            detail,
        )

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """Read the nodes' log files, merged by time."""
        directory = self._pool.job_dir(service_id)
        found: dict[int, NodeLog] = {}
        while True:
            job = self._pool.job(service_id)
            ended = job is None or bool(job.get("ended_at"))
            for rank in [node] if node is not None else range(job["nodes"] if job else 0):
                found.setdefault(rank, NodeLog(directory / f"node-{rank}.log", rank))
            for line in heapq.merge(*(log.read_new() for log in found.values()), key=lambda entry: entry.time):
                if since is None or line.time >= since:
                    yield line
            if not follow or ended:
                return
            self._pool.recover()
            time.sleep(self.poll_s)

    def dispatch(self) -> None:
        """Clean up after crashes, then start waiting jobs if nodes are free."""
        self._pool.dispatch()

    def cancel(self, service_id: str, run: Run) -> None:
        """Remove the job from the queue. If it runs, stop its supervisor and wait until all its processes have exited."""
        job = self._pool.job(service_id)
        if job is None:
            return
        require_same_run(run, service_id, job["environment"])
        if self._pool.cancel_waiting(service_id):
            return
        self._pool.request_cancel(service_id)
        deadline = time.monotonic() + job["grace_s"] + 15
        while time.monotonic() < deadline:
            self._pool.dispatch()
            job = self._pool.job(service_id)
            if job is None or job.get("ended_at"):
                return
            self._pool.kill_supervisor(service_id, only_stopped=True)
            time.sleep(0.1)
        self._pool.kill_supervisor(service_id, only_stopped=False)
        self._pool.dispatch()

    def capacity(self) -> Capacity:
        """Return the numbers of nodes, free nodes and waiting jobs."""
        return Capacity(len(self._pool.nodes()), len(self._pool.free_nodes()), len(self._pool.tickets()))

    def principal(self) -> str | None:
        """Return this process's user on this machine."""
        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user may have no name
            user = f"uid {os.getuid()}"
        return f"{user}@{socket.gethostname()}"

    def ready(self) -> None:
        """Check that the pool exists. Raises NotFoundError."""
        self._pool.nodes()
