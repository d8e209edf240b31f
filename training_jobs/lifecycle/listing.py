"""Looks at all runs of a bucket: the records side by side where they are far, each service about many jobs at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from ..backends.base import AsksForMany
from ..errors import AuthError, LostSightError, UsageError
from ..status import RunStatus
from .handle import Case
from .journal import Journal, RunRecord

_LOOKS_AT_ONCE = 16  # at runs in a far bucket, each of which is a handful of calls

Say = Callable[[str], None]


def look_at_all(journal: Journal, case_of: Callable[[RunRecord, str], Case | None], on_damaged: Say) -> list[RunStatus]:
    """The status of each run of a bucket that `case_of` makes a case of.

    A record that cannot be read is named to `on_damaged` and left out; a run whose service cannot be asked is named there too
    and UNKNOWN, so that one service that is down does not hide the others.
    """
    workers = 1 if journal.url.startswith("file:") else _LOOKS_AT_ONCE
    with ThreadPoolExecutor(workers) as pool:
        cases = [case for case in pool.map(lambda run: _case(journal, run, case_of, on_damaged), journal.run_ids()) if case is not None]
        _ask_ahead(cases)
        return list(pool.map(lambda case: _status(case, on_damaged), cases))


def _case(journal: Journal, run: str, case_of: Callable[[RunRecord, str], Case | None], on_damaged: Say) -> Case | None:
    try:
        there = journal.find(run)
    except UsageError as error:
        on_damaged(f"left out: {error}")
        return None
    return None if there is None else case_of(*there)


def _ask_ahead(cases: Iterable[Case]) -> None:
    """Ask each service that can about all the jobs of a pool that have not ended; the cases then need not."""
    alive = defaultdict[str, list[tuple[Case, str]]](list)
    for case in cases:
        last = case.record.last
        if last.ended is None and last.service_id is not None:
            alive[case.record.pool].append((case, last.service_id))
    for asked in alive.values():
        backend = asked[0][0].backend
        if len(asked) == 1 or not isinstance(backend, AsksForMany):
            continue
        try:
            found = backend.statuses([service_id for _, service_id in asked])
        except (LostSightError, AuthError) as error:
            for case, _ in asked:
                case.said = error
            continue
        for case, service_id in asked:
            case.said = found[service_id]


def _status(case: Case, on_damaged: Say) -> RunStatus:
    try:
        return case.status()
    except (LostSightError, AuthError) as error:
        on_damaged(f"{case.record.run_id}: {error}")
        return case.unknown(str(error))
