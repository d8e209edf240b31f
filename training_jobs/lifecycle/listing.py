"""List the runs of a bucket: read cloud records concurrently, and query each service about many jobs in one call."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ..backends.base import SupportsBulkStatus
from ..errors import GpuyardError, UsageError
from ..state import State
from ..status import RunStatus
from .handle import RunHandle
from .journal import Journal, RunRecord

__all__ = ["RunFilter", "list_statuses"]

_CONCURRENT_READS = 16  # of runs in a cloud bucket; each run takes a handful of calls

_HandleOf = Callable[[RunRecord, str], RunHandle | None]
_OnDamaged = Callable[[str], None]


@dataclass(frozen=True)
class RunFilter:
    """The runs to list. A run is listed if it passes every field; the defaults let all runs pass."""

    pool: str | None = None
    states: frozenset[State] = frozenset()
    """The states to list. Empty: any state."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the job file must have, each with this value."""
    since: float | None = None
    """A run is listed if its first submission was at this Unix time or later. None: any time."""
    limit: int | None = None
    """Largest number of runs; the newest runs are listed. None: all runs."""

    def wants(self, record: RunRecord) -> bool:
        """Return whether the record passes. The state is not in the record."""
        labels = record.last.spec.labels
        return (
            self.pool in (None, record.pool)
            and (self.since is None or record.created_at >= self.since)
            and all(labels.get(name) == value for name, value in self.labels.items())
        )

    def newest(self, statuses: Iterable[RunStatus]) -> list[RunStatus]:
        """Return the runs in a listed state, newest first, at most `limit` of them."""
        wanted = [status for status in statuses if not self.states or status.state in self.states]
        return sorted(wanted, key=lambda status: -status.submitted_at)[: self.limit]


def list_statuses(journal: Journal, handle_of: _HandleOf, on_damaged: _OnDamaged, where: RunFilter) -> list[RunStatus]:
    """Return the status of each run that passes `where` and for which `handle_of` returns a handle.

    A record that cannot be read is left out and reported to `on_damaged`. If a service cannot be queried, its runs are UNKNOWN and
    reported too, and the other runs are still listed. Raises the bucket's error if no record can be read.
    """
    unread: list[GpuyardError] = []
    workers = 1 if journal.url.startswith("file:") else _CONCURRENT_READS
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda run: _handle(journal, run, handle_of, on_damaged, unread), journal.run_ids())
        read = [handle for handle in found if handle is not None]
        if unread and not read:
            raise unread[0]
        handles = sorted((handle for handle in read if where.wants(handle.record)), key=lambda handle: -handle.record.created_at)
        if not where.states:
            handles = handles[: where.limit]  # the services need not be queried about the others
        _prefetch(handles)
        return where.newest(pool.map(lambda handle: _status(handle, on_damaged), handles))


def _handle(journal: Journal, run: str, handle_of: _HandleOf, on_damaged: _OnDamaged, unread: list[GpuyardError]) -> RunHandle | None:
    try:
        found = journal.find(run)
    except GpuyardError as error:
        on_damaged(f"left out: {error}")
        if not isinstance(error, UsageError):  # not damaged: the bucket refused, or does not answer
            unread.append(error)
        return None
    return None if found is None else handle_of(*found)


def _prefetch(handles: Iterable[RunHandle]) -> None:
    """Query the active jobs of a pool in one call, where the service supports that."""
    alive = defaultdict[str, list[tuple[RunHandle, str]]](list)
    for handle in handles:
        with contextlib.suppress(UsageError):  # an id that the service never gives is reported with its run
            if handle.record.last.ended is None and (job_id := handle.job_id) is not None:
                alive[handle.record.pool].append((handle, job_id))
    for jobs in alive.values():
        backend = jobs[0][0].backend
        if len(jobs) == 1 or not isinstance(backend, SupportsBulkStatus):
            continue
        try:
            found = backend.statuses([service_id for _, service_id in jobs])
        except GpuyardError as error:
            for handle, _ in jobs:
                handle.prefetched = error
            continue
        for handle, service_id in jobs:
            handle.prefetched = found[service_id]


def _status(handle: RunHandle, on_damaged: _OnDamaged) -> RunStatus:
    try:
        return handle.status()
    except GpuyardError as error:
        on_damaged(f"{handle.record.run_id}: {error}")
        return handle.unread_status(str(error))
