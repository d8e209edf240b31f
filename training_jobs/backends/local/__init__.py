"""The service `local`: a queue over the nodes of a pool on this machine, without a daemon.

Whoever submits, waits or asks for a status recovers what a crash left and starts what can start.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ...run import Run
from ...state import Reason, State
from ...target import LocalTarget
from ..base import Capacity, LogLine, Request, ServiceStatus, read_bootstrap, run_variables
from .pool import Pool

GRACE_S = 30  # between SIGTERM and SIGKILL


class LocalBackend:
    """Jobs on a local pool (see backends/base.py for what each method promises)."""

    poll_s = 0.2

    def __init__(self, target: LocalTarget) -> None:
        self._pool = Pool(Path(target.pool_dir))

    def request(self, run: Run) -> list[Request]:
        """One entry of the pool's queue."""
        body = {
            "run_id": run.id,
            "nodes": run.spec.nodes,
            "limit_s": run.limit_s,
            "limit_reason": run.limit_reason,
            "queue_timeout_s": run.spec.queue_timeout,
            "grace_s": GRACE_S,
            "bootstrap": read_bootstrap(),
            "environment": run_variables(run),
        }
        return [Request("enqueue", {"job": run.name, **body})]

    def submit(self, run: Run) -> str:
        """Put it into the queue, once."""
        body = dict(self.request(run)[0].body)
        name, patience = body.pop("job"), body.pop("queue_timeout_s")
        now = time.time()
        expires = now + patience if patience is not None else None
        self._pool.enqueue(name, {**body, "submitted_at": now, "expires_at": expires, "started_at": None})
        return str(name)

    def find(self, run: Run) -> str | None:
        """The name is deterministic: it is there or it is not."""
        return run.name if self._pool.job(run.name) is not None else None

    def status(self, service_id: str) -> ServiceStatus:
        """Recovers and starts what can start, then reads."""
        self._pool.settle()
        job = self._pool.job(service_id)
        if job is None:
            return ServiceStatus(State.FAILED, Reason.INFRA, detail="the pool was made anew since")
        detail = job.get("detail")
        if job["state"] == State.PENDING and self._pool.holds_nodes(service_id, job["run_id"]):
            detail = "nodes taken, starting"
        elif job["state"] == State.PENDING:
            capacity = self.capacity()
            detail = f"nodes {capacity.free} of {capacity.nodes} free, wants {job['nodes']}; {capacity.waiting} waiting"
        return ServiceStatus(
            State(job["state"]),
            Reason(job["reason"]) if job.get("reason") else None,
            job.get("exit_code"),
            job.get("started_at"),
            job.get("ended_at"),
            detail,
        )

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """The nodes' log files, merged by time."""
        directory = self._pool.job_dir(service_id)
        places: dict[Path, int] = {}
        while True:
            job = self._pool.job(service_id)
            ended = job is None or bool(job.get("ended_at"))
            wanted = [node] if node is not None else range(job["nodes"] if job else 0)
            fresh = [list(_new_lines(directory / f"node-{rank}.log", rank, places)) for rank in wanted]
            for line in heapq.merge(*fresh, key=lambda entry: entry.time):
                if since is None or line.time >= since:
                    yield line
            if not follow or ended:
                return
            self._pool.settle()
            time.sleep(self.poll_s)

    def cancel(self, service_id: str) -> None:
        """End it where it waits, or have its supervisor end it, and wait until nothing is left."""
        job = self._pool.job(service_id)
        if job is None or self._pool.end_pending(service_id, state="CANCELLED"):
            return
        (self._pool.job_dir(service_id) / "cancel").touch()
        deadline = time.monotonic() + job["grace_s"] + 15
        while time.monotonic() < deadline:
            self._pool.settle()
            job = self._pool.job(service_id)
            if job is None or job.get("ended_at"):
                return
            time.sleep(0.1)

    def capacity(self) -> Capacity:
        """Nodes that no lease holds, and jobs in the queue."""
        return Capacity(len(self._pool.nodes()), len(self._pool.free()), len(self._pool.tickets()))

    def ready(self) -> None:
        """The pool is there."""
        self._pool.nodes()


def _new_lines(log: Path, node: int, places: dict[Path, int]) -> Iterator[LogLine]:
    """Whole lines written since the last call."""
    try:
        with log.open("rb") as file:
            file.seek(places.get(log, 0))
            data = file.read()
    except FileNotFoundError:
        return
    whole = data[: data.rfind(b"\n") + 1]
    places[log] = places.get(log, 0) + len(whole)
    for raw in whole.decode("utf-8", "replace").split("\n")[:-1]:
        stamp, _, text = raw.partition(" ")
        try:
            moment = datetime.fromisoformat(stamp).timestamp()
        except ValueError:  # a line torn by a full disk
            continue
        yield LogLine(moment, node, text)
