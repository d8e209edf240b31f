"""The queue of a Slurm cluster, as objects in the run bucket. Only the bucket connects submitters and the cluster's head.

gpuyard/queues/<pool>/targets.json       the job target of the pool, written by the head
gpuyard/queues/<pool>/head.json          the head's newest heartbeat; its writer is the only head
gpuyard/queues/<pool>/in/<job>.json      a ticket: creating it is the submit
gpuyard/queues/<pool>/in/<job>.cancel    a request to cancel that job
gpuyard/queues/<pool>/out/<job>.json     the head's report about the job
gpuyard/queues/<pool>/done/<job>.json    the ticket of an ended job, so that `in/` stays short

A job is named `<run id>.<submission>-<nonce>`. A job's role needs no right to these objects.
"""

from __future__ import annotations

import contextlib
import re
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import GpuyardError
from .run_layout import queue_path
from .state import Reason, State
from .store import ChangedError, ExistsError, Store

__all__ = ["JOB_NAME", "DamagedError", "Heartbeat", "Mailbox", "Report", "Ticket"]

JOB_NAME = re.compile(r"[a-z0-9][a-z0-9-]*\.[0-9]+(-[0-9a-f]+)?")
_MOST_TICKETS = 20_000


class DamagedError(GpuyardError):
    """An object of the queue is not a valid document."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Ticket(_Document):
    """A request to run one submission. The head reads everything from it, because jobs could change the objects in the run's folder."""

    schema_: Literal["gpuyard.ticket/1"] = Field("gpuyard.ticket/1", alias="schema")
    run_id: str
    nodes: int = Field(ge=1)
    gpus_per_node: int = Field(ge=0)
    limit_s: int = Field(ge=1, description="longest run time, in seconds")
    limit_reason: Reason
    environment: dict[str, str] = Field(description="variables of each node")


class Report(_Document):
    """The state of a job, as the head saw it last. Times are Unix times."""

    schema_: Literal["gpuyard.report/1"] = Field("gpuyard.report/1", alias="schema")
    state: State
    reason: Reason | None = None
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    detail: str | None = None
    slurm_job: str | None = Field(None, description="job id of Slurm; null = not submitted yet")
    missing_since: float | None = Field(None, description="time since which Slurm has not listed the job; null = Slurm lists it")
    cut: Reason | None = Field(None, description="limit for which the head cancelled the job")


class Heartbeat(_Document):
    """The head's sign of life, with the pool's numbers. `at` is Unix time."""

    schema_: Literal["gpuyard.head/1"] = Field("gpuyard.head/1", alias="schema")
    holder: str = Field(description="random name of the process that is the head")
    at: float
    host: str
    nodes: int = Field(ge=0)
    free: int = Field(ge=0)
    waiting: int = Field(ge=0)


_D = TypeVar("_D", bound=_Document)


class Mailbox:
    """The queue of one pool."""

    def __init__(self, store: Store, pool: str) -> None:
        self._store, self._root = store, queue_path(pool)

    def put(self, name: str, ticket: Ticket) -> None:
        """Submit a job. If there is already a ticket of this name, it stays unchanged."""
        with contextlib.suppress(ExistsError):
            self._store.create(f"{self._root}/in/{name}.json", _bytes(ticket))

    def put_cancel(self, name: str) -> None:
        """Ask the head to cancel a job."""
        with contextlib.suppress(ExistsError):
            self._store.create(f"{self._root}/in/{name}.cancel", b"")

    def ticket(self, name: str) -> Ticket | None:
        """Return the ticket of a waiting, running or ended job; None if there is none. Raises DamagedError."""
        for folder in ("in", "done"):
            found = self._read(f"{folder}/{name}.json", Ticket)
            if found is not None:
                return found[0]
        return None

    def open_jobs(self) -> tuple[list[str], set[str]]:
        """Return the names of the jobs that have not ended, and the names to cancel. Objects with other names are ignored."""
        names = [name.rpartition(".") for name in self._store.names(f"{self._root}/in", _MOST_TICKETS)]
        jobs = [job for job, _, kind in names if kind == "json" and JOB_NAME.fullmatch(job)]
        return jobs, {job for job, _, kind in names if kind == "cancel"}

    def report(self, name: str) -> tuple[Report, str] | None:
        """Return the head's report about a job, and its tag; None if there is none. Raises DamagedError."""
        return self._read(f"out/{name}.json", Report)

    def write_report(self, name: str, report: Report, tag: str | None) -> str:
        """Write a report and return its new tag. `tag`: tag of the report to replace; None = the job has no report yet.

        Raises ChangedError.
        """
        return self._write(f"out/{name}.json", report, tag)

    def close(self, name: str) -> None:
        """Move the ticket of an ended job out of `in/`."""
        ticket = self._read(f"in/{name}.json", Ticket)
        if ticket is not None:
            with contextlib.suppress(ExistsError):
                self._store.create(f"{self._root}/done/{name}.json", _bytes(ticket[0]))
        self._store.remove(f"{self._root}/in/{name}.cancel")
        self._store.remove(f"{self._root}/in/{name}.json")

    def heartbeat(self) -> tuple[Heartbeat, str] | None:
        """Return the newest heartbeat and its tag; None if no head has ever run. Raises DamagedError."""
        return self._read("head.json", Heartbeat)

    def write_heartbeat(self, heartbeat: Heartbeat, tag: str | None) -> str:
        """Replace the heartbeat with this tag, and return the new tag. Raises ChangedError if another head wrote meanwhile."""
        return self._write("head.json", heartbeat, tag)

    def write_targets(self, data: bytes) -> None:
        """Write the pool's targets.json."""
        path = f"{self._root}/targets.json"
        found = self._store.read(path)
        if found is None:
            self._store.create(path, data)
        elif found[0] != data:
            self._store.replace(path, data, found[1])

    def _read(self, path: str, kind: type[_D]) -> tuple[_D, str] | None:
        found = self._store.read(f"{self._root}/{path}")
        if found is None:
            return None
        try:
            return kind.model_validate_json(found[0]), found[1]
        except ValidationError:
            raise DamagedError(f"{self._root}/{path} is not a valid {kind.__name__.lower()}; remove it, and submit the job again") from None

    def _write(self, path: str, document: _Document, tag: str | None) -> str:
        data = _bytes(document)
        if tag is not None:
            return self._store.replace(f"{self._root}/{path}", data, tag)
        try:
            return self._store.create(f"{self._root}/{path}", data)
        except ExistsError:
            raise ChangedError(path) from None


def _bytes(document: _Document) -> bytes:
    return document.model_dump_json(by_alias=True).encode()
