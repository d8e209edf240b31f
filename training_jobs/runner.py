"""Runner: submit jobs to the targets of a stack, then watch, resume, cancel and list their runs.

runner = Runner(targets)
submitted = runner.submit(spec, Path("."), key="2026-11-22")
status = runner.wait(submitted.status.run_id)
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .admission import check, check_key
from .backends import load_backend
from .backends.base import Backend, Capacity, LogLine, Request
from .errors import LostSightError, UsageError
from .lifecycle.handle import RunHandle, make_submission
from .lifecycle.journal import Journal, RunRecord
from .lifecycle.listing import RunFilter
from .lifecycle.node_documents import CurvePoint
from .lifecycle.polling import resumed, wait_for
from .lifecycle.resubmit import Action, decide, stranger
from .lifecycle.run_finder import RunFinder
from .lifecycle.run_logs import attempt_lines, wait_for_nodes
from .lifecycle.status_builder import read_curve
from .packaging import Package, pack
from .run import Code, Run, paid_starts, run_id, time_limit
from .spec import JobSpec
from .state import State
from .status import RunStatus
from .store import ChangedError
from .target import JobTarget, pick_target
from .yard_data import check_data

__all__ = ["Runner", "SubmitPlan", "Submitted"]

_ALL_RUNS = RunFilter()
_REPORT_WAIT_S = 2.0
"""A submit or cancel that waits for another process reports the wait after this many seconds."""
_GIVE_UP_S = 180.0
"""A submit or cancel gives up after this many seconds if other processes keep changing the run's record."""


@dataclass(frozen=True)
class Submitted:
    """The result of a submit. `created`: whether this submit started a job at the service."""

    created: bool
    note: str
    status: RunStatus
    left_out: tuple[str, ...] = ()
    """Files of the code folder that were not sent although no .gitignore names them, each with the reason."""


@dataclass(frozen=True)
class _CheckedJob:
    """A job that its target can run, with the run id and the packed code."""

    run_id: str
    spec: JobSpec
    target: JobTarget
    key: str | None
    journal: Journal
    package: Package
    code: Code

    def store_code(self) -> None:
        """Upload the code if the bucket does not have it yet."""
        self.journal.store_code(self.package.sha256, self.package.data)


@dataclass(frozen=True)
class SubmitPlan:
    """A planned submit: the run id, the exact requests, the code files to send, and the files left out with reasons."""

    run_id: str
    requests: list[Request]
    files: tuple[str, ...]
    left_out: tuple[str, ...]


class Runner:
    """Submits jobs to the targets of one stack and follows their runs.

    `targets` maps pool names to targets (`parse_targets`). `source` is their origin, for messages.
    `backend_for`, `clock` (Unix time), `elapsed` and `sleep` (seconds) are for tests.
    """

    def __init__(
        self,
        targets: Mapping[str, JobTarget],
        *,
        source: str = "the targets",
        backend_for: Callable[[JobTarget], Backend] = load_backend,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._targets, self._source = targets, source
        self._backend_for, self._clock, self._elapsed, self._sleep = backend_for, clock, elapsed, sleep
        self._runs = RunFinder(targets, source, backend_for, clock, elapsed)

    def plan(self, spec: JobSpec, code_dir: Path | None, *, key: str | None = None, leave_out: Collection[Path] = ()) -> SubmitPlan:
        """Return the run id, requests and files of a first submit. Nothing is written."""
        job = self._check(spec, code_dir, key, leave_out)
        requests = self._backend_for(job.target).request(self._run(job))
        return SubmitPlan(job.run_id, requests, job.package.files, job.package.left_out)

    def submit(
        self,
        spec: JobSpec,
        code_dir: Path | None,
        *,
        key: str | None = None,
        retry: bool = False,
        again: bool = False,
        leave_out: Collection[Path] = (),
        trial: Mapping[str, str] | None = None,
        on_wait: Callable[[str], None] = lambda _: None,
    ) -> Submitted:
        """Start a run, or adopt the existing run. The same input starts only one job, however often it is submitted.

        `key` (a request key, such as a date) identifies the run. Without a key, the spec and the code identify it. `retry` starts the
        next attempt of a run that failed. `again` starts a new run of the same spec and code. `leave_out`: files of `code_dir` that
        are not sent, such as the job file. `trial`: the values of a sweep's parameters, for the record. `on_wait` gets one line if the
        submit must wait for another process for more than 2 s.
        Raises UsageError for a job that the target cannot run, and ConflictError when `key` belongs to another job.
        """
        if again and key is not None:
            raise UsageError("--again: not allowed with --request-key; use a new key to start a new run")
        job = self._check(spec, code_dir, secrets.token_hex(8) if again else key, leave_out)
        for _ in self._turns(job.run_id, on_wait):
            found = job.journal.find(job.run_id)
            with contextlib.suppress(ChangedError):  # another process changed the record: read it again
                handle = self._runs.handle(job.journal, *found) if found is not None else None
                submitted = self._first_submit(job, trial) if handle is None else self._resubmit(handle, job, retry=retry)
                if submitted is not None:
                    return replace(submitted, left_out=job.package.left_out)
        raise AssertionError("the last turn raises")

    def _turns(self, run: str, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Yield once for each try to change a record, until the caller stops. Raises LostSightError after _GIVE_UP_S seconds."""
        begun, reported = self._elapsed(), False
        while self._elapsed() - begun < _GIVE_UP_S:
            yield
            if not reported and self._elapsed() - begun > _REPORT_WAIT_S:
                reported = True
                on_wait(f"run {run}: {self.status(run).detail or 'other processes change its record'}; waiting {_GIVE_UP_S:.0f} s at most")
        raise LostSightError(f"run {run}: other processes kept changing its record for {_GIVE_UP_S:.0f} s; try again")

    def _check(self, spec: JobSpec, code_dir: Path | None, key: str | None, leave_out: Collection[Path]) -> _CheckedJob:
        """Check a job and compute its run id. Nothing is written. Raises UsageError."""
        if key is not None:
            check_key(key)
        target = pick_target(self._targets, spec.pool, self._source)
        check(spec, target, self._clock())
        package, journal = pack(code_dir, spec.command, leave_out=leave_out), Journal(target.run_bucket)
        name = run_id(spec, package.digest, target.stack, target.pool, key)
        return _CheckedJob(name, spec, target, key, journal, package, Code(package.digest, journal.code_url(package.sha256)))

    def _run(self, job: _CheckedJob) -> Run:
        """Return the run with which a first submit of this job starts. Nothing is submitted."""
        limit_s, reason = time_limit(job.spec, job.target, 0, 0)
        starts = paid_starts(job.spec, job.target, limit_s, 0)
        return Run(job.run_id, 0, 1, job.spec, job.target, job.code, limit_s, reason, paid_starts=starts)

    def _first_submit(self, job: _CheckedJob, trial: Mapping[str, str] | None) -> Submitted | None:
        """Record a new run, then start it. Returns None when another submit recorded it first."""
        spec, target, now = job.spec, job.target, self._clock()
        backend = self._backend_for(target)
        backend.request(self._run(job))  # raises for what the service cannot do,
        check_data(spec, target)
        backend.ready()  # and for a service that is not reachable, before anything is written
        first = make_submission(spec, target, job.code, (), attempt=1, fresh=True, now=now, submitter=backend.principal())
        record = RunRecord(
            run_id=job.run_id,
            name=spec.name,
            stack=target.stack,
            pool=target.pool,
            request_key=job.key,
            created_at=now,
            trial=None if trial is None else dict(trial),
            submissions=(first,),
        )
        job.store_code()
        tag = job.journal.create(record)
        if tag is None:
            return None
        handle = self._runs.handle(job.journal, record, tag)
        created = handle.start()
        return Submitted(created, "created", handle.submitted_status() if created else handle.status())

    def _resubmit(self, handle: RunHandle, job: _CheckedJob, *, retry: bool) -> Submitted | None:
        """Apply the resubmit table to a run that exists. Returns None when the caller must read the record again."""
        last = handle.record.last
        service = handle.refresh(enforce=True) if last.service_id is not None or last.ended is not None else None
        emptied = service is not None and service.state is State.SUCCEEDED and not job.journal.has_output(job.run_id)
        choice = decide(handle.record, service, job.spec, job.code.digest, retry=retry, age_s=handle.age_s, emptied=emptied)
        note = choice.note + stranger(handle.record.last.submitter, handle.backend.principal())
        if choice.action is Action.POLL:
            self._sleep(0.05)
            return None
        created = False
        if choice.action is Action.TAKE_OVER:
            created = handle.take_over()
        elif choice.action is Action.NEXT:
            job.store_code()
            created = handle.start_next(job.spec, job.code, fresh=choice.fresh)
            note = note if created else f"not started: earlier attempts used up the {handle.record.last.limit_reason} limit"
        return Submitted(created, note, handle.status())

    def status(self, run: str) -> RunStatus:
        """Return a run's status. Raises NotFoundError for an unknown run."""
        return self._runs.find(run).status()

    def wait(self, run: str, on_status: Callable[[RunStatus], None] = lambda _: None) -> RunStatus:
        """Wait for a run's end. Start new attempts while retries are left.

        `on_status` is called with every status. Raises LostSightError when the service or the record could not be read for five
        minutes (throttling, an outage, expired credentials): the job may still run. If a run
        stays UNKNOWN for five minutes, that status is returned, although the run may not have ended.
        """
        return wait_for(lambda: self._runs.find(run), on_status, self._elapsed, self._sleep)

    def advance(self, run: str) -> None:
        """Do once what `wait` does repeatedly: enforce the run's limits, and start the next attempt if it has ended with a retry left."""
        handle = self._runs.find(run)
        if handle.status(enforce=True).state.ended:
            resumed(handle)

    def cancel(self, run: str, on_wait: Callable[[str], None] = lambda _: None) -> RunStatus:
        """Cancel a run. A run that has ended keeps its state, except that STOPPED becomes CANCELLED.

        `on_wait` gets one line if the cancel must wait for another process for more than 2 s.
        """
        for _ in self._turns(run, on_wait):
            handle = self._runs.find(run)
            with contextlib.suppress(ChangedError):  # a submit or a wait changed the record meanwhile
                handle.cancel()
                if handle.record.last.service_id is not None or handle.record.last.ended is not None:
                    return handle.status()
            self._sleep(0.05)
        raise AssertionError("the last turn raises")

    def prune(self, run: str) -> None:
        """Cancel a sweep's running trial, because it is worse than the other trials. The run ends as CANCELLED with the reason `pruned`."""
        for _ in self._turns(run, lambda _: None):
            with contextlib.suppress(ChangedError):  # another process changed the record
                self._runs.find(run).prune()
                return

    def curve(self, run: str, metric: str) -> list[CurvePoint]:
        """Return the values of a metric that the run's newest attempt reported, as (step, value), ascending."""
        handle = self._runs.find(run)
        return read_curve(handle.journal, handle.record, metric)

    def trial(self, spec: JobSpec, key: str) -> dict[str, str] | None:
        """Return the parameter values in the record of a sweep's trial; None if no trial has this request key."""
        target = pick_target(self._targets, spec.pool, self._source)
        found = Journal(target.run_bucket).find(run_id(spec, "", target.stack, target.pool, key))
        return None if found is None else found[0].trial

    def spec(self, run: str) -> JobSpec:
        """Return the job of a run's newest submission."""
        return self._runs.find(run).record.last.spec

    def logs(
        self,
        run: str,
        *,
        node: int | None = None,
        attempt: int | None = None,
        since: float | None = None,
        follow: bool = False,
        on_wait: Callable[[str], None] = lambda _: None,
    ) -> Iterator[LogLine]:
        """Yield the output of a run's nodes, from `since` (Unix time; default: all).

        `node` selects one node. `attempt` selects one attempt; the default is all attempts of the newest submission. `follow` continues
        until the submission's job ends. While a followed run waits for nodes, `on_wait` gets the reason, and again when it changes.
        Raises UsageError for an unknown node or attempt.
        """
        handle = self._runs.find(run)
        nodes = handle.record.last.spec.nodes
        if node is not None and not 0 <= node < nodes:
            raise UsageError(f"--node: run {run} has no such node, got {node}, allowed: 0..{nodes - 1}")
        if follow and attempt is None:
            wait_for_nodes(lambda: self._runs.find(run), on_wait, self._sleep)
            handle = self._runs.find(run)
        if attempt is not None:
            yield from attempt_lines(handle, attempt, node=node, since=since, follow=follow)
        elif (job_id := handle.job_id) is not None:
            yield from handle.backend.logs(job_id, node=node, since=since, follow=follow)

    def runs(self, on_damaged: Callable[[str], None] = lambda _: None, where: RunFilter = _ALL_RUNS) -> list[RunStatus]:
        """Return the status of the runs of the targets' pools that pass `where`, newest first. The default lists all runs.

        A record that cannot be read is left out and reported to `on_damaged`. If a service cannot be queried, its runs are UNKNOWN and
        reported too, and the other runs are still listed.
        """
        return self._runs.statuses(on_damaged, where)

    def fetch(self, run: str, into: Path, on_left_out: Callable[[str], None] = lambda _: None) -> list[str]:
        """Download a run's output and checkpoints. Returns the paths written, relative to `into`.

        Links are not copied, nor objects with names that no file can have. `on_left_out` gets a line for each.
        """
        journal = self._runs.find(run).journal

        def copied(part: str) -> list[str]:
            return journal.fetch(run, part, into / part, lambda line: on_left_out(f"{part}/{line}"))

        return [f"{part}/{name}" for part in ("output", "checkpoints") for name in copied(part)]

    def capacity(self) -> dict[str, Capacity]:
        """Return each pool's numbers of nodes, free nodes and waiting jobs."""
        return {pool: self._backend_for(target).capacity() for pool, target in self._targets.items()}
