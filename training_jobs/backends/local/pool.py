"""The pool's directory: leases, the queue, and what a crash left (docs/local-pool.md).

Everything that changes it holds the lock; the lock goes with the process that holds it.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import LostSightError, NotFoundError
from ...store import plain_errors
from .files import Ticket, read_json, write_json
from .process import MARK, is_alive, start_of, sweep

_LOCK_PATIENCE_S = 30.0
_MAX_STARTS = 3  # of a supervisor that never comes to start a node


class Pool:
    """One local pool. Methods whose name begins with an underscore expect the lock to be held."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    # -- reading ---------------------------------------------------------------------------------

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes of pool.json. Raises NotFoundError when the pool is not there."""
        data = read_json(self.directory / "pool.json")
        if data is None:
            raise NotFoundError(f"the pool {self.directory} is not there; `pulumi up` makes it")
        nodes: list[dict[str, Any]] = data["nodes"]
        return nodes

    def job(self, name: str) -> dict[str, Any] | None:
        """A job's state, as its last writer left it."""
        return read_json(self.job_dir(name) / "job.json")

    def job_dir(self, name: str) -> Path:
        """Where a job keeps its state and its nodes' logs."""
        return self.directory / "jobs" / name

    def lease_path(self, run_id: str) -> Path:
        """The lease of a run. Its path is the mark of every process of the run."""
        return self.directory / "leases" / f"{run_id}.json"

    def leases(self) -> list[dict[str, Any]]:
        """All leases, dead ones included."""
        found = (read_json(path) for path in sorted((self.directory / "leases").glob("*.json")))
        return [lease for lease in found if lease is not None]

    def holds_nodes(self, name: str, run_id: str) -> bool:
        """Whether this job, rather than an earlier one of its run, has the run's lease."""
        lease = read_json(self.lease_path(run_id))
        return lease is not None and lease["job"] == name

    def tickets(self) -> list[Ticket]:
        """The waiting jobs, first come first."""
        try:
            names = sorted(name for name in os.listdir(self.directory / "queue") if not name.startswith("."))
        except FileNotFoundError:
            return []
        return [Ticket.read(name) for name in names]

    def free(self) -> list[int]:
        """Indices of the nodes that no lease holds."""
        held = {index for lease in self.leases() for index in lease["nodes"]}
        return [node["index"] for node in self.nodes() if node["index"] not in held]

    # -- changing --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the pool. Raises LostSightError when somebody else does for too long, and what store.py raises for a disk's refusals."""
        self.nodes()
        with plain_errors(self.directory), (self.directory / "lock").open("a") as file:
            deadline = time.monotonic() + _LOCK_PATIENCE_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise LostSightError(f"the pool {self.directory} stays locked; who holds {file.name}?") from None
                    time.sleep(0.005)
            self.nodes()  # it may have been destroyed while we waited
            yield

    def settle(self) -> None:
        """Recover what a crash left and start what can start."""
        with self.lock():
            self._recover()
            self._dispatch()

    def enqueue(self, name: str, job: dict[str, Any]) -> None:
        """Accept a job, once, and start it if its turn has come."""
        with self.lock():
            self._recover()
            if self.job(name) is None:
                tickets = self.tickets()
                sequence = max(time.time_ns(), tickets[-1].sequence + 1 if tickets else 0)
                ticket = str(Ticket(sequence, job["expires_at"] or 0, name))
                # The ticket first: a job without one would wait for ever, a ticket without a job is dropped.
                write_json(self.directory / "queue" / ticket, {"job": name})
                write_json(self.job_dir(name) / "job.json", {**job, "ticket": ticket, "state": "PENDING"})
            self._dispatch()

    def end_pending(self, name: str, **outcome: Any) -> bool:
        """End a job that has no nodes yet. Returns False when it has."""
        with self.lock():
            self._recover()
            job = self.job(name)
            if job is None or job["state"] != "PENDING" or self.holds_nodes(name, job["run_id"]):
                return False
            self._end(name, job, **outcome)
            return True

    def _end(self, name: str, job: dict[str, Any], **outcome: Any) -> None:
        """Record how a job ended, then give back its place."""
        ended = {"ended_at": time.time(), "reason": None, "exit_code": None, "detail": None, **outcome}
        write_json(self.job_dir(name) / "job.json", {**job, **ended})
        (self.directory / "queue" / job["ticket"]).unlink(missing_ok=True)
        if self.holds_nodes(name, job["run_id"]):
            self.lease_path(job["run_id"]).unlink(missing_ok=True)

    def _recover(self) -> None:
        for lease in self.leases():
            if is_alive(lease["pid"], lease["started"]):
                continue
            path = self.lease_path(lease["run_id"])
            if sweep(path):
                continue  # something of the job will not die: its nodes are not free
            name = lease["job"]
            job = self.job(name)
            if job is None or job.get("ended_at"):
                path.unlink(missing_ok=True)
            elif (self.job_dir(name) / "cancel").exists():
                self._end(name, job, state="CANCELLED")
            elif job["state"] == "PENDING":  # no node was started: back to its old place
                write_json(self.directory / "queue" / job["ticket"], {"job": name})
                path.unlink(missing_ok=True)
            else:
                detail = "its supervisor was killed, or the machine went down"
                self._end(name, job, state="FAILED", reason="infra", detail=detail, ended_at=self._last_sign(name, job))

    def _last_sign(self, name: str, job: dict[str, Any]) -> float:
        """When a job was last known to run: the time since then was nobody's, and is not charged to it."""
        logs = [path.stat().st_mtime for path in self.job_dir(name).glob("node-*.log")]
        return float(max([job["started_at"], *logs]))

    def _dispatch(self) -> None:
        tickets, now = self.tickets(), time.time()
        for ticket in tickets:
            if ticket.expires_at and now >= ticket.expires_at:
                self._waiting(ticket)
        free = self.free()
        for ticket in tickets:
            job = self._waiting(ticket)
            if job is None:
                continue
            if job["nodes"] > len(free) or self.lease_path(job["run_id"]).exists():
                return  # strictly in order: what comes later does not overtake
            taken, free = free[: job["nodes"]], free[job["nodes"] :]
            if not self._start(ticket.job, job, taken):
                return  # it died at once: the ticket stays, and whoever asks next tries again
            self._drop(ticket)

    def _drop(self, ticket: Ticket) -> None:
        (self.directory / "queue" / str(ticket)).unlink(missing_ok=True)

    def _waiting(self, ticket: Ticket) -> dict[str, Any] | None:
        """The job of a ticket; None, and no ticket, where there is nothing to wait for any more."""
        name = ticket.job
        job, size = self.job(name), len(self.nodes())
        if job is None or job.get("ended_at") or self.holds_nodes(name, job["run_id"]):
            self._drop(ticket)
            return None
        if ticket.expires_at and time.time() >= ticket.expires_at:
            outcome = {"reason": "capacity", "detail": "queue_timeout: no nodes came free in time", "ended_at": job["expires_at"]}
        elif job["nodes"] > size:
            outcome = {"reason": "capacity", "detail": f"wants {job['nodes']} nodes, the pool has {size} now"}
        elif job.get("starts", 0) >= _MAX_STARTS:
            outcome = {
                "reason": "infra",
                "detail": f"its supervisor died {_MAX_STARTS} times before it could start: {self._complaint(name)}",
            }
        else:
            return job
        self._end(name, job, state="FAILED", **outcome)
        return None

    def _complaint(self, name: str) -> str:
        lines = (self.job_dir(name) / "supervisor.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def _start(self, name: str, job: dict[str, Any], nodes: list[int]) -> bool:
        """Spawn the supervisor and give it the lease. It does nothing before it holds the lock and sees its lease."""
        lease = self.lease_path(job["run_id"])
        write_json(self.job_dir(name) / "job.json", {**job, "starts": job.get("starts", 0) + 1})
        with (self.job_dir(name) / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gpuyard.training_jobs.backends.local.supervisor", str(self.directory), name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_environment(), MARK: str(lease)},
                cwd="/",
                start_new_session=True,
            )
        started = start_of(process.pid)
        _reap(process)
        if started is None:
            return False
        entry = {"version": 1, "run_id": job["run_id"], "pid": process.pid, "started": started, "nodes": nodes, "job": name}
        write_json(lease, entry)
        return True


_spawned: list[subprocess.Popen[bytes]] = []


@atexit.register
def _let_go() -> None:
    """They go on when this process ends, on purpose: Python would call each an oversight."""
    for process in _spawned:
        process.returncode = process.poll() or 0


def _reap(started: subprocess.Popen[bytes]) -> None:
    """Supervisors outlive whoever starts them; a process that lives longer must not collect zombies."""
    _spawned[:] = [process for process in (*_spawned, started) if process.poll() is None]


def _environment() -> dict[str, str]:
    """What a job sees of the machine: not the variables of whoever happened to start it."""
    kept = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "PYTHONDONTWRITEBYTECODE")
    root = str(Path(__file__).parents[4])
    return {"PYTHONPATH": root, **{name: os.environ[name] for name in kept if name in os.environ}}
