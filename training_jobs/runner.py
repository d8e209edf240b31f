"""Submit once, wait, classify, retry, resume.

runner = Runner(targets)
submitted = runner.submit(spec, Path("."), key="2026-11-22")
status = runner.wait(submitted.status.run_id)
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .admission import check
from .backends import load_backend
from .backends.base import Backend, Capacity, LogLine, Request
from .errors import NotFoundError, UsageError
from .lifecycle.handle import Case, submission
from .lifecycle.journal import Journal, RunRecord
from .lifecycle.listing import look_at_all
from .lifecycle.polling import wait_for
from .lifecycle.resubmit import Action, decide
from .packaging import Package, pack
from .run import Code, Run, run_id, time_limit
from .spec import JobSpec
from .status import RunStatus
from .store import ChangedError
from .target import JobTarget, pick_target


@dataclass(frozen=True)
class Submitted:
    """What a submit found or made. `created` is true for the one submit that made the service start something."""

    created: bool
    note: str
    status: RunStatus


@dataclass(frozen=True)
class _Order:
    """A job that was checked, and the run that it is."""

    run_id: str
    spec: JobSpec
    target: JobTarget
    key: str | None
    journal: Journal
    package: Package
    code: Code

    def keep_code(self) -> None:
        """Upload the code, unless the same is there."""
        self.journal.keep_code(self.package.sha256, self.package.data)


class Runner:
    """Runs of the targets of one stack ({pool: target}). `backend_for`, `clock` and `sleep` are injected by tests."""

    def __init__(
        self,
        targets: Mapping[str, JobTarget],
        *,
        source: str = "the targets",
        backend_for: Callable[[JobTarget], Backend] = load_backend,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._targets, self._source = targets, source
        self._backend_for, self._clock, self._sleep = backend_for, clock, sleep

    def plan(self, spec: JobSpec, code_dir: Path | None, *, key: str | None = None) -> tuple[str, list[Request]]:
        """The run id and the exact requests of a first submit. Nothing is written anywhere."""
        order = self._order(spec, code_dir, key)
        return order.run_id, self._backend_for(order.target).request(self._run(order))

    def submit(
        self, spec: JobSpec, code_dir: Path | None, *, key: str | None = None, retry: bool = False, again: bool = False
    ) -> Submitted:
        """Start a run, or adopt it if it is there: the same input twice, at any time, starts it once.

        Without `key` the content decides what is the same. `retry` starts the next attempt of a run that failed;
        `again` starts a new run of the same content. Raises UsageError for a job that the target cannot run, and
        ConflictError when the key is another job's.
        """
        if again and key is not None:
            raise UsageError("--again starts a new run under a random key; with --request-key choose another key instead")
        order = self._order(spec, code_dir, secrets.token_hex(8) if again else key)
        while True:
            found = order.journal.find(order.run_id)
            with contextlib.suppress(ChangedError):  # somebody moved it meanwhile: look again
                there = self._case(order.journal, *found) if found is not None else None
                submitted = self._first(order) if there is None else self._resubmit(there, order, retry=retry)
                if submitted is not None:
                    return submitted

    def _order(self, spec: JobSpec, code_dir: Path | None, key: str | None) -> _Order:
        """Check a job and work out which run it is; nothing is written."""
        target = pick_target(self._targets, spec.pool, self._source)
        check(spec, target, self._clock())
        package, journal = pack(code_dir, spec.command), Journal(target.run_bucket)
        name = run_id(spec, package.digest, target.stack, target.pool, key)
        return _Order(name, spec, target, key, journal, package, Code(package.digest, journal.code_url(package.sha256)))

    def _run(self, order: _Order) -> Run:
        """The first submission of an order."""
        limit_s, reason = time_limit(order.spec, order.target, 0, 0)
        return Run(order.run_id, 0, 1, order.spec, order.target, order.code, limit_s, reason)

    def _first(self, order: _Order) -> Submitted | None:
        """Write a new run down, then start it. None when another submit wrote it first."""
        spec, target, now = order.spec, order.target, self._clock()
        record = RunRecord(
            run_id=order.run_id,
            name=spec.name,
            stack=target.stack,
            pool=target.pool,
            request_key=order.key,
            created_at=now,
            submissions=(submission(spec, target, order.code, (), attempt=1, fresh=True, now=now),),
        )
        backend = self._backend_for(target)
        backend.request(self._run(order))  # what the service cannot do, and
        backend.ready()  # a service that is not there, are found out before anything is written
        order.keep_code()
        tag = order.journal.create(record)
        if tag is None:
            return None
        case = self._case(order.journal, record, tag)
        created = case.start()
        return Submitted(created, "created", case.submitted() if created else case.status())

    def _resubmit(self, case: Case, order: _Order, *, retry: bool) -> Submitted | None:
        """Do what the resubmit table says about a run that is there. None = look again soon."""
        written = case.record.last.service_id is not None or case.record.last.ended is not None
        service = case.look() if written else None
        choice = decide(case.record, service, order.spec, order.code.digest, retry=retry, now=self._clock())
        if choice.action is Action.POLL:
            self._sleep(0.05)
            return None
        created = False
        if choice.action is Action.TAKE_OVER:
            created = case.take_over()
        elif choice.action is Action.NEXT:
            order.keep_code()
            created = case.next(order.spec, order.code, fresh=choice.fresh)
        return Submitted(created, choice.note, case.status())

    def status(self, run: str) -> RunStatus:
        """Where a run is. Raises NotFoundError for an unknown one."""
        return self._find(run).status()

    def wait(self, run: str, on_status: Callable[[RunStatus], None] = lambda _: None) -> RunStatus:
        """Wait for the end, starting new attempts while the allowance pays for them.

        Raises LostSightError when the service or the record could not be asked for five minutes, be it for throttling, an outage
        or credentials that ran out: the job may still run. UNKNOWN for as long is returned; it is an end for nobody.
        """
        return wait_for(lambda: self._find(run), on_status, self._clock, self._sleep)

    def cancel(self, run: str) -> RunStatus:
        """End a run. One that has ended stays as it ended."""
        while True:
            case = self._find(run)
            with contextlib.suppress(ChangedError):  # a submit or a wait moved it on meanwhile
                case.cancel()
                if case.record.last.service_id is not None or case.record.last.ended is not None:
                    return case.status()
            self._sleep(0.05)

    def logs(self, run: str, *, node: int | None = None, since: float | None = None, follow: bool = False) -> Iterator[LogLine]:
        """Output of the newest attempt's nodes, from `since` (Unix time). Raises UsageError for a node it does not have."""
        case = self._find(run)
        nodes = case.record.last.spec.nodes
        if node is not None and not 0 <= node < nodes:
            raise UsageError(f"run {run} has no node {node}, allowed: 0..{nodes - 1}")
        if case.record.last.service_id is not None:
            yield from case.backend.logs(case.record.last.service_id, node=node, since=since, follow=follow)

    def runs(self, on_damaged: Callable[[str], None] = lambda _: None) -> list[RunStatus]:
        """All runs of the targets' pools, on whatever services, newest first.

        A record that cannot be read is named to `on_damaged` and left out; a run whose service cannot be asked is named
        there too and UNKNOWN, so that one service that is down does not hide the others.
        """
        found: list[RunStatus] = []
        for bucket in self._buckets():
            journal = Journal(bucket)
            found += look_at_all(journal, functools.partial(self._own_case, journal), on_damaged)
        return sorted(found, key=lambda status: -status.submitted_at)

    def _own_case(self, journal: Journal, record: RunRecord, tag: str) -> Case | None:
        return self._case(journal, record, tag) if record.pool in self._targets else None

    def fetch(self, run: str, into: Path) -> list[str]:
        """Copy a run's output and checkpoints below a folder. Returns the paths written, relative to it."""
        journal = self._find(run).journal
        return [f"{part}/{name}" for part in ("output", "checkpoints") for name in journal.fetch(run, part, into / part)]

    def capacity(self) -> dict[str, Capacity]:
        """How much of each pool is free."""
        return {pool: self._backend_for(target).capacity() for pool, target in self._targets.items()}

    def _case(self, journal: Journal, record: RunRecord, tag: str) -> Case:
        target = self._targets.get(record.pool)
        if target is None:
            raise NotFoundError(f"run {record.run_id} belongs to pool '{record.pool}', which {self._source} no longer has")
        return Case(journal, self._backend_for(target), target, record, tag, self._clock)

    def _find(self, run: str) -> Case:
        missing = NotFoundError(f"no run '{run}': {self._source} has no pool that takes jobs")
        for bucket in self._buckets():
            journal = Journal(bucket)
            try:
                return self._case(journal, *journal.get(run))
            except NotFoundError as error:
                missing = error
        raise missing

    def _buckets(self) -> list[str]:
        return sorted({target.run_bucket for target in self._targets.values()})
