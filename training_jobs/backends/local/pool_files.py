"""Reads the files of one local pool (docs/local-pool.md). A file that gpuyard did not write is ignored, and `damaged` names it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ...errors import AuthError, LostSightError, NotFoundError
from .files import JobEntry, LeaseFile, PoolNode, Ticket, parse_job_entry, parse_lease, parse_nodes, read_json
from .process import is_stopped, marked_pids

__all__ = ["PoolFiles"]


class PoolFiles:
    """The state of one local pool on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def nodes(self) -> list[PoolNode]:
        """Return the nodes of pool.json. Raises NotFoundError without a pool, AuthError if other users can access its directory."""
        path = self.directory / "pool.json"
        data = read_json(path, "run `pulumi up --refresh`")
        if data is None:
            raise NotFoundError(f"there is no pool in {self.directory}; `pulumi up` creates it")
        found = self.directory.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:  # its queue holds programs that this user would run
            got = f"owner {found.st_uid}, mode {found.st_mode & 0o777:o}"
            allowed = f"owner {os.getuid()}, mode 700"
            raise AuthError(
                f"{self.directory}: not a private directory of this user, got {got}, allowed: {allowed}; run `pulumi up --refresh`"
            )
        nodes = parse_nodes(data)
        if nodes is None:
            raise LostSightError(f"{path}: not the document that `pulumi up` writes; run `pulumi up --refresh`")
        return nodes

    def job(self, name: str) -> JobEntry | None:
        """Return a job's entry; None for an unknown job. Raises LostSightError for a damaged entry."""
        path = self.job_dir(name) / "job.json"
        data = read_json(path)
        entry = parse_job_entry(data)
        if data is not None and entry is None:
            raise LostSightError(f"{path}: not a job's entry; remove the file when no job of the pool runs")
        return entry

    def readable_job(self, name: str) -> JobEntry | None:
        """Return a job's entry; None for an unknown job and for a damaged entry."""
        with contextlib.suppress(LostSightError):
            return self.job(name)
        return None

    def job_dir(self, name: str) -> Path:
        """Return the folder of a job's entry and its nodes' logs."""
        return self.directory / "jobs" / name

    def lease_path(self, run_id: str) -> Path:
        """Return the path of a run's lease. Every process of the run has this path in the variable GPUYARD_LEASE."""
        return self.directory / "leases" / f"{run_id}.json"

    def lease(self, path: Path) -> LeaseFile | None:
        """Return a lease; None if the file does not exist or is not a lease."""
        with contextlib.suppress(LostSightError):
            return parse_lease(read_json(path))
        return None

    def leases(self) -> list[LeaseFile]:
        """Return all leases, including leases of dead supervisors."""
        found = map(self.lease, self._lease_paths())
        return [lease for lease in found if lease is not None]

    def holds_nodes(self, name: str, run_id: str) -> bool:
        """Return whether the run's lease belongs to this job and not to an earlier job of the run."""
        lease = self.lease(self.lease_path(run_id))
        return lease is not None and lease["job"] == name

    def stopped_supervisor(self, name: str, job: JobEntry) -> int | None:
        """Return the pid of a job's supervisor if a signal (SIGSTOP) has stopped it, else None."""
        lease = self.lease(self.lease_path(job["run_id"]))
        return lease["pid"] if lease and lease["job"] == name and is_stopped(lease["pid"]) else None

    def tickets(self) -> list[Ticket]:
        """Return the waiting jobs in the order of their submission."""
        return [ticket for name in self._queue() if (ticket := Ticket.parse(name)) is not None]

    def is_next(self, name: str, nodes: int) -> bool:
        """Return whether a job is the first of the queue, and `nodes` nodes are free for it."""
        return [ticket.job for ticket in self.tickets()[:1]] == [name] and len(self.free_nodes()) >= nodes

    def damaged(self) -> list[str]:
        """Return the names of damaged tickets and leases: files whose name or content gpuyard cannot have written."""
        queue = [f"queue/{name}" for name in self._queue() if Ticket.parse(name) is None]
        return [*queue, *(f"leases/{path.name}" for path in self._damaged_leases())]

    def free_nodes(self) -> list[int]:
        """Return the indices of the nodes without a lease. Empty if a damaged lease has live processes, because its nodes are unknown."""
        if any(marked_pids(path) for path in self._damaged_leases()):
            return []
        held = {index for lease in self.leases() for index in lease["nodes"]}
        return [node["index"] for node in self.nodes() if node["index"] not in held]

    def cancel_requested(self, name: str) -> bool:
        """Return whether somebody requested to cancel a job."""
        return (self.job_dir(name) / "cancel").exists()

    def _lease_paths(self) -> list[Path]:
        return sorted((self.directory / "leases").glob("*.json"))

    def _damaged_leases(self) -> list[Path]:
        return [path for path in self._lease_paths() if self.lease(path) is None and path.exists()]

    def _queue(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.directory / "queue") if not name.startswith("."))
        except FileNotFoundError:
            return []
