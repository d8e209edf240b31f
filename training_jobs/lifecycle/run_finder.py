"""Finds runs in the run buckets of a stack's targets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from ..backends.base import Backend
from ..errors import NotFoundError
from ..status import RunStatus
from ..target import JobTarget
from .handle import RunHandle
from .journal import Journal, RunRecord
from .listing import RunFilter, list_statuses

__all__ = ["RunFinder"]


class RunFinder:
    """The runs of some targets. `source` is the targets' origin, for messages. For the clocks see RunHandle."""

    def __init__(
        self,
        targets: Mapping[str, JobTarget],
        source: str,
        backend_for: Callable[[JobTarget], Backend],
        clock: Callable[[], float],
        elapsed: Callable[[], float],
    ) -> None:
        self._targets, self._source, self._backend_for = targets, source, backend_for
        self._clock, self._elapsed = clock, elapsed
        self._seen: dict[str, tuple[str, float]] = {}

    def find(self, run: str) -> RunHandle:
        """Return the handle of a run. Raises NotFoundError."""
        missing = NotFoundError(f"no run '{run}': no pool in {self._source} takes jobs")
        for bucket in self._buckets():
            journal = Journal(bucket)
            try:
                return self.handle(journal, *journal.get(run))
            except NotFoundError as error:
                missing = error
        raise missing

    def statuses(self, on_damaged: Callable[[str], None], where: RunFilter) -> list[RunStatus]:
        """Return the status of the runs that pass `where`, newest first. `on_damaged`: see Runner.runs."""
        found: list[RunStatus] = []
        for bucket in self._buckets():
            journal = Journal(bucket)
            found += list_statuses(journal, functools.partial(self._own_handle, journal), on_damaged, where)
        return where.newest(found)

    def handle(self, journal: Journal, record: RunRecord, tag: str) -> RunHandle:
        """Return the handle of a record that was read. Raises NotFoundError if no target has the record's pool."""
        target = self._targets.get(record.pool)
        if target is None:
            raise NotFoundError(
                f"run {record.run_id} belongs to pool '{record.pool}', which is not in {self._source}; use the stack that has this pool"
            )
        seen_at = self._first_seen(record.run_id, tag)
        return RunHandle(journal, self._backend_for(target), target, record, tag, self._clock, self._elapsed, seen_at)

    def _own_handle(self, journal: Journal, record: RunRecord, tag: str) -> RunHandle | None:
        return self.handle(journal, record, tag) if record.pool in self._targets else None

    def _first_seen(self, run_id: str, tag: str) -> float:
        """Return the time at which this process first read this version (`tag`) of the record, on the clock `elapsed`."""
        known_tag, moment = self._seen.get(run_id, ("", 0.0))
        if known_tag != tag:
            moment = self._elapsed()
            self._seen[run_id] = tag, moment
        return moment

    def _buckets(self) -> list[str]:
        return sorted({target.run_bucket for target in self._targets.values()})
