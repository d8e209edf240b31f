"""The queue and the leases of one local pool (docs/local-pool.md), and their recovery after crashes.

Every change holds the pool's file lock, which the operating system releases when the process exits.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from ...errors import LostSightError
from ...launch.descendants import descendants
from ...state import Outcome, Reason, State
from ...store import translate_os_errors
from .cgroup import enter_cgroup, kill_cgroup
from .files import JobEntry, LeaseFile, Ticket, write_json
from .pool_files import PoolFiles
from .process import is_alive, is_stopped, kill_marked, start_time, wait_until_dead
from .spawn import reap_later, spawn_supervisor

__all__ = ["Pool"]

_LOCK_TIMEOUT_S = 30.0
_MAX_STARTS = 3  # tries to start a supervisor that exits before it starts a node
_FAILED_INFRA = Outcome(State.FAILED, Reason.INFRA, None)
_FAILED_CAPACITY = Outcome(State.FAILED, Reason.CAPACITY, None)
_CANCELLED = Outcome(State.CANCELLED, None, None)


class Pool(PoolFiles):
    """One local pool. Private methods expect the caller to hold the lock."""

    def recover(self) -> None:
        """Record the end of jobs whose supervisor was killed, and kill their remaining processes. Affects no other job."""
        with self._lock():
            self._recover(enforce=False)

    def dispatch(self) -> None:
        """Clean up after crashes, end jobs that exceed their limits, and start waiting jobs if nodes are free."""
        with self._lock():
            self._recover()
            self._start_waiting()

    def enqueue(self, name: str, job: JobEntry) -> None:
        """Add a job to the queue if it is not there yet. Start it if nodes are free."""
        with self._lock():
            self._recover()
            if self.job(name) is None:
                tickets = self.tickets()
                sequence = max(time.time_ns(), tickets[-1].sequence + 1 if tickets else 0)
                ticket = str(Ticket(sequence, job["expires_at"] or 0, name))
                # Write the ticket first: a ticket without a job is dropped, but a job without a ticket would wait forever.
                write_json(self.directory / "queue" / ticket, {"job": name})
                write_json(self.job_dir(name) / "job.json", {**job, "ticket": ticket, "state": "PENDING"})
            self._start_waiting()

    def cancel_waiting(self, name: str) -> bool:
        """Cancel a job that has no nodes yet. Returns False for a job that has nodes or has ended."""
        with self._lock():
            self._recover()
            job = self.job(name)
            if job is None or job["state"] != "PENDING" or self.holds_nodes(name, job["run_id"]):
                return False
            self._end(name, job, _CANCELLED, "cancelled: it had not started")
            self._start_waiting()
            return True

    def request_cancel(self, name: str) -> None:
        """Ask a job's supervisor to stop it."""
        (self.job_dir(name) / "cancel").touch()

    def kill_supervisor(self, name: str, *, only_stopped: bool) -> None:
        """Kill the supervisor of a running job and all its descendants. The next `dispatch` ends the job.

        `only_stopped`: kill it only if a signal such as SIGSTOP has stopped it. Then it neither enforces limits nor obeys a cancel.
        """
        with self._lock():
            job = self.readable_job(name)
            lease = self.lease(self.lease_path(job["run_id"])) if job else None
            if lease is None or lease["job"] != name or not is_alive(lease["pid"], lease["started"]):
                return
            if not only_stopped or is_stopped(lease["pid"]):
                _kill_tree(lease)

    def claim(self, name: str, lease: Path) -> JobEntry | None:
        """Mark a job as running and return it; None if `lease` does not belong to this process. The job's supervisor calls this."""
        with self._lock():
            job = self.job(name)
            held = self.lease(lease)
            if job is None or job.get("ended_at") or held is None or held["pid"] != os.getpid() or held["job"] != name:
                return None
            started = time.time()
            job = {**job, "state": "RUNNING", "started_at": started, "assigned": held["nodes"], "cgroup": enter_cgroup(name)}
            write_json(self.job_dir(name) / "job.json", job)
            return job

    def finish(self, name: str, job: JobEntry, outcome: Outcome, detail: str | None) -> None:
        """Record how a job ended, free its nodes and start waiting jobs. The job's supervisor calls this."""
        with self._lock():
            if self.cancel_requested(name) and outcome.state is not State.SUCCEEDED:
                outcome = Outcome(State.CANCELLED, None, outcome.exit_code)
            self._end(name, job, outcome, detail)
            self._recover()
            self._start_waiting()

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the pool's lock. Raises LostSightError if another process holds the lock for too long."""
        self.nodes()
        with translate_os_errors(self.directory), (self.directory / "lock").open("a") as file:
            deadline = time.monotonic() + _LOCK_TIMEOUT_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise LostSightError(f"pool is locked by another process (tried {_LOCK_TIMEOUT_S:.0f} s): {file.name}") from None
                    time.sleep(0.005)
            self.nodes()  # the pool may have been destroyed during the wait
            yield

    def _end(self, name: str, job: JobEntry, outcome: Outcome, detail: str | None = None, ended_at: float | None = None) -> None:
        """Record how a job ended, then remove its ticket and its lease."""
        ended_at = time.time() if ended_at is None else ended_at
        ended = {"state": outcome.state, "reason": outcome.reason, "exit_code": outcome.exit_code, "detail": detail, "ended_at": ended_at}
        write_json(self.job_dir(name) / "job.json", {**job, **ended})
        (self.directory / "queue" / job["ticket"]).unlink(missing_ok=True)
        if self.holds_nodes(name, job["run_id"]):
            self.lease_path(job["run_id"]).unlink(missing_ok=True)

    def _recover(self, *, enforce: bool = True) -> None:
        """Kill the remaining processes of jobs whose supervisor died, and end or requeue these jobs.

        `enforce`: also kill a stopped supervisor (SIGSTOP) whose job exceeds its time limit.
        """
        for lease in self.leases():
            alive = is_alive(lease["pid"], lease["started"])
            overdue = self._overdue(lease) if enforce and alive and is_stopped(lease["pid"]) else None
            if overdue:
                _kill_tree(lease)
            elif alive:
                continue
            path = self.lease_path(lease["run_id"])
            if kill_marked(path):
                continue  # a process of the job is still alive: its nodes are not free
            name = lease["job"]
            job = self.readable_job(name)
            if job and kill_cgroup(job.get("cgroup"), name):
                continue
            if job is None or job.get("ended_at"):
                path.unlink(missing_ok=True)
            elif self.cancel_requested(name):
                self._end(name, job, _CANCELLED, "cancelled: its supervisor and all its processes were killed")
            elif job["state"] == "PENDING":  # no node was started: it gets its old place back
                write_json(self.directory / "queue" / job["ticket"], {"job": name})
                path.unlink(missing_ok=True)
            else:
                detail = "its supervisor was stopped by a signal" if overdue else "its supervisor was killed, or the machine went down"
                ended_at = None if overdue else self._last_write(name, job)
                self._end(name, job, overdue or _FAILED_INFRA, detail, ended_at=ended_at)

    def _overdue(self, lease: LeaseFile) -> Outcome | None:
        """Return FAILED and the limit's reason for a job that is past its time limit and grace period. None for any other job."""
        job = self.readable_job(lease["job"])
        if job is None or time.time() < (job["started_at"] or math.inf) + job["limit_s"] + job["grace_s"]:
            return None
        return Outcome(State.FAILED, Reason(job["limit_reason"]), None)

    def _last_write(self, name: str, job: JobEntry) -> float:
        """Return when a job's nodes last wrote a line to their logs. The time after that does not count towards the job's time limit."""
        logs = [path.stat().st_mtime for path in self.job_dir(name).glob("node-*.log")]
        return max([job["started_at"] or 0.0, *logs])

    def _start_waiting(self) -> None:
        """Start waiting jobs in order of submission, until one needs more nodes than are free."""
        tickets, now = self.tickets(), time.time()
        for ticket in tickets:
            if ticket.expires_at and now >= ticket.expires_at:
                self._runnable(ticket)
        free = self.free_nodes()
        for ticket in tickets:
            job = self._runnable(ticket)
            if job is None:
                continue
            if job["nodes"] > len(free) or self.lease_path(job["run_id"]).exists():
                return  # later jobs must not overtake this one
            assigned, free = free[: job["nodes"]], free[job["nodes"] :]
            if not self._start(ticket.job, job, assigned):
                return  # its supervisor exited at once: the ticket stays, and the next dispatch tries again
            self._drop(ticket)

    def _drop(self, ticket: Ticket) -> None:
        (self.directory / "queue" / str(ticket)).unlink(missing_ok=True)

    def _runnable(self, ticket: Ticket) -> JobEntry | None:
        """Return the job of a ticket (its place in the queue). If the job cannot start, end it and return None."""
        name = ticket.job
        job, size = self.readable_job(name), len(self.nodes())
        if job is None or job.get("ended_at") or self.holds_nodes(name, job["run_id"]):
            self._drop(ticket)
            return None
        if ticket.expires_at and time.time() >= ticket.expires_at:
            self._end(name, job, _FAILED_CAPACITY, "queue_timeout: no nodes became free in time", ended_at=job["expires_at"])
        elif job["nodes"] > size:
            self._end(name, job, _FAILED_CAPACITY, f"needs {job['nodes']} nodes, the pool has {size} now")
        elif job.get("starts", 0) >= _MAX_STARTS:
            detail = f"its supervisor exited {_MAX_STARTS} times before it could start a node: {self._supervisor_error(name)}"
            self._end(name, job, _FAILED_INFRA, detail)
        else:
            return job
        return None

    def _supervisor_error(self, name: str) -> str:
        lines = (self.job_dir(name) / "supervisor.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "its log is empty"

    def _start(self, name: str, job: JobEntry, nodes: list[int]) -> bool:
        """Start a job's supervisor and write its lease. Returns False if the supervisor exited at once."""
        lease = self.lease_path(job["run_id"])
        write_json(self.job_dir(name) / "job.json", {**job, "starts": job.get("starts", 0) + 1})
        process = spawn_supervisor(self.directory, name, lease, self.job_dir(name) / "supervisor.log")
        started = start_time(process.pid)
        reap_later(process)
        if started is None:
            return False
        entry: LeaseFile = {"version": 1, "run_id": job["run_id"], "pid": process.pid, "started": started, "nodes": nodes, "job": name}
        write_json(lease, entry)
        return True


def _kill_tree(lease: LeaseFile) -> None:
    """Kill a supervisor and all its descendants."""
    for pid in (lease["pid"], *descendants(lease["pid"])):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    wait_until_dead(lease["pid"], lease["started"])
