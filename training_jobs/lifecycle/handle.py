"""RunHandle: one run, with its record and its service, and the steps submit, refresh, resume and cancel."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..admission import check
from ..backends.base import Backend, ServiceStatus, SupportsDispatch
from ..errors import CapacityError, GpuyardError, LostSightError, QuotaError, UsageError
from ..run import Code, Run, canonical, cost_usd, digest, paid_starts, resolved_job, time_limit
from ..run_layout import claimed_attempts
from ..spec import JobSpec
from ..state import Reason, State
from ..status import RunStatus
from ..store import ChangedError
from ..target import JobTarget
from .journal import RESTORE, Journal, RunRecord, Submission, SubmissionEnd
from .limits import exceeded_limit, explain_cut
from .node_documents import NoDocuments, readable_claims
from .resubmit import TAKE_OVER_AFTER_S, apply_allowance, has_retry_left, retries_left
from .status_builder import build_status, recorded_status

__all__ = ["RunHandle", "make_submission"]

_YEAR_S = 366 * 86400.0
_READS = 20  # times that `refresh` reads a record that other processes keep changing
_REFUSED = {QuotaError: Reason.QUOTA, CapacityError: Reason.CAPACITY}


@dataclass
class RunHandle:
    """One run as last read from the journal.

    Each step writes the record conditionally. If another process changed the record first, it raises store.ChangedError.
    """

    journal: Journal
    backend: Backend
    target: JobTarget
    record: RunRecord
    tag: str
    clock: Callable[[], float]
    """Function that returns the Unix time."""
    elapsed: Callable[[], float]
    """Function that returns seconds on a monotonic clock."""
    seen_at: float
    """Value of `elapsed` when this process first read this version of the record."""
    prefetched: ServiceStatus | GpuyardError | None = None
    """The job's status or error, from one call for many runs. The next `refresh` uses it.

    None: `refresh` calls the service.
    """

    def save(self, record: RunRecord) -> None:
        """Replace the record in the journal. Raises ChangedError if another process changed it first."""
        self.tag = self.journal.replace(record, self.tag)
        self.record = record

    def refresh(self, *, enforce: bool = False) -> ServiceStatus:
        """Query the service about the newest submission. If it has ended, record the end, because services forget jobs.

        `enforce` also cancels a job beyond its limits, and finishes a submit whose process died. Without `enforce` no job is started
        or stopped. Raises LostSightError when other processes keep changing the record.
        """
        for _ in range(_READS):
            try:
                return self._refresh_once(enforce)
            except ChangedError:
                self.record, self.tag = self.journal.get(self.record.run_id)
                self.seen_at = self.elapsed()
        raise LostSightError(f"run {self.record.run_id}: other processes changed its record {_READS} times meanwhile; try again")

    def _refresh_once(self, enforce: bool) -> ServiceStatus:
        if self.record.last.service_id is None and self.record.last.ended is None:
            if not enforce or self.age_s < TAKE_OVER_AFTER_S:
                return ServiceStatus(State.PENDING, detail=self._unsubmitted())
            self.take_over()
        if self.record.last.ended is not None:
            return recorded_status(self.record.last.ended)
        if enforce and isinstance(self.backend, SupportsDispatch):
            self.backend.dispatch()
        status = self._service_status()
        if enforce:
            self._enforce_limits(status)
        status = apply_allowance(explain_cut(self.record, status, self.age_s), self.record)
        if status.state.ended:
            self.save(self.record.with_last(ended=self._end(status)))
        return status

    @property
    def age_s(self) -> float:
        """Age of the record in seconds: the time since it was written, or since this process first read it. The longer one counts.

        The time since the write is too short if the writer's clock is ahead. A time of more than a year means that a clock is wrong.
        Then only the time since the first read counts, because a wrong clock must not end a job.
        """
        age, watched = self.clock() - self.record.last.written_at, self.elapsed() - self.seen_at
        return max(age, watched) if age < _YEAR_S else watched

    def _unsubmitted(self) -> str:
        ahead = self.record.last.written_at - self.clock()
        if self.age_s >= TAKE_OVER_AFTER_S:
            return "recorded, but its submit did not finish; `gpuyard wait` or the next submit finishes it"
        skew = f" by a machine whose clock is {ahead:,.0f} s ahead of this one; correct the clocks"
        return "being submitted" + (skew if ahead > TAKE_OVER_AFTER_S else "")

    @property
    def job_id(self) -> str | None:
        """The service's id of the newest job; None before it is submitted. Raises UsageError for an id in a wrong format."""
        return self.job_id_of(self.record.last)

    def job_id_of(self, submission: Submission) -> str | None:
        """Return the service's id of a submission's job; None before it is submitted. Raises UsageError for an id in a wrong format."""
        found = submission.service_id
        if found is not None and not self.backend.job_id.fullmatch(found):
            where = f"{self.journal.url}, run {self.record.run_id}"
            raise UsageError(f"{where}: service_id is not a job id of {self.target.kind}, got {found[:200]!r}; {RESTORE}")
        return found

    def _service_status(self) -> ServiceStatus:
        answer, self.prefetched = self.prefetched, None
        if isinstance(answer, GpuyardError):
            raise answer
        return answer or self.backend.status(self.job_id or "")

    def _enforce_limits(self, status: ServiceStatus) -> None:
        """Cancel a job that exceeds its limit of waiting time, run time or restarts, if the service does not enforce that limit.

        The reason is recorded before the service is called, so that every later reader reports the same end.
        """
        if self.record.last.cut is None and (cause := exceeded_limit(self.record, status, self.age_s)) is not None:
            self.save(self.record.with_last(cut=cause))
        if self.record.last.cut is not None and not status.state.ended:
            self._cancel_job()

    def status(self, *, enforce: bool = False) -> RunStatus:
        """Return the run's status now. `enforce`: see `refresh`."""
        service = self.refresh(enforce=enforce)
        return build_status(self.journal, self.record, self.target, service, self.clock())

    def submitted_status(self) -> RunStatus:
        """Return the status right after a submit. No call is needed: the nodes have written nothing yet."""
        service = ServiceStatus(State.PENDING, detail="submitted")
        return build_status(NoDocuments(self.journal.url), self.record, self.target, service, self.clock())

    def unread_status(self, detail: str) -> RunStatus:
        """Return a status from the record alone: its end, or UNKNOWN. `detail`: why the service or the bucket cannot be read."""
        found = replace(recorded_status(self.record.last.ended), detail=detail)
        return build_status(NoDocuments(self.journal.url), self.record, self.target, found, self.clock())

    def start(self) -> bool:
        """Submit the newest submission to the service and record its id.

        If earlier attempts used up the time or cost limit, record the end and return False.
        """
        last = self.record.last
        if last.limit_s <= 0:
            spent = ServiceStatus(State.FAILED, Reason(last.limit_reason), detail=f"earlier attempts used up the {last.limit_reason} limit")
            self.save(self.record.with_last(ended=self._end(spent)))
            return False
        try:
            service_id = self.backend.submit(replace(self._run(), channel_secret=secrets.token_hex(32)))
        except LostSightError:
            raise  # the job may have started: the record stays as it is, and the next submit looks the job up
        except GpuyardError as refused:
            self._record_refusal(refused)
            raise
        self.save(self.record.with_last(service_id=service_id))
        return True

    def _record_refusal(self, error: GpuyardError) -> None:
        """Record that the service refused the job. Only the next submit retries (docs/adr/0008)."""
        reason = _REFUSED.get(type(error), Reason.UNKNOWN)
        self.save(self.record.with_last(ended=self._end(ServiceStatus(State.STOPPED, reason, detail=f"refused: {error}"))))

    def take_over(self) -> bool:
        """Finish a submit whose process died between the record and the service call.

        Returns True if this process started the job, because the call had not been made.
        """
        self.save(self.record.with_last(written_at=self.clock()))
        service_id = self.backend.find(self._run())
        if service_id is None:
            check(self.record.last.spec, self.target, self.clock())
            self.save(self.record.with_last(written_at=self.clock(), **self._derived()))  # the look-up took time: renew the claim
            return self.start()
        self.save(self.record.with_last(service_id=service_id))
        return False

    def start_next(self, spec: JobSpec, code: Code, *, fresh: bool) -> bool:
        """Record the next submission and start it. `fresh`: reset the time limit and the retry counts."""
        first = self.record.last.attempt
        attempt = max([first, *claimed_attempts(readable_claims(self.journal, self.record.run_id)[0], first)]) + 1
        before = () if fresh else self.record.current
        who = self.backend.principal()
        following = make_submission(spec, self.target, code, before, attempt=attempt, fresh=fresh, now=self.clock(), submitter=who)
        self.save(self.record.with_next(following))
        return self.start()

    def resume(self) -> bool:
        """Start the next attempt of a STOPPED run with the same spec and code. Returns False when no retry is left."""
        last = self.record.last
        if last.ended is None or last.ended.state is not State.STOPPED or not has_retry_left(self.record, last.ended.reason):
            return False
        try:
            check(last.spec, self.target, self.clock())
        except UsageError:  # the pool has changed since; the next submit reports how
            return False
        return self.start_next(last.spec, Code(last.code_digest, last.code_url), fresh=False)

    def _derived(self) -> dict[str, object]:
        """Compute the fields of the newest submission that depend on its spec. The values in the record are not trusted."""
        last, before = self.record.last, self.record.current[:-1]
        code = Code(last.code_digest, last.code_url)
        who = self.backend.principal()
        again = make_submission(
            last.spec, self.target, code, before, attempt=last.attempt, fresh=last.fresh, now=last.written_at, submitter=who
        )
        return {name: getattr(again, name) for name in ("spec_digest", "job", "limit_s", "limit_reason", "paid_starts", "submitter")}

    def cancel(self) -> None:
        """Cancel the run. If a job is alive, call the service. If not, mark the record, so that no submit resumes the run."""
        if self.record.last.service_id is None and self.record.last.ended is None and self.age_s >= TAKE_OVER_AFTER_S:
            self._find_or_end()
        if self.refresh().state is State.STOPPED and self.record.last.ended is not None:
            self.save(self.record.with_last(ended=self.record.last.ended.model_copy(update={"state": State.CANCELLED})))
        elif self.record.last.service_id is not None and self.record.last.ended is None:
            self._cancel_job()

    def prune(self) -> None:
        """Cancel the running job of a sweep's trial. A run that waits or has ended stays as it is."""
        if self.refresh().state is State.RUNNING and self.record.last.cut is None:
            self.save(self.record.with_last(cut=Reason.PRUNED))
            self._cancel_job()

    def _find_or_end(self) -> None:
        """Complete the record of a submit whose process died: add the job's id if the service has the job, else mark it cancelled."""
        self.save(self.record.with_last(written_at=self.clock()))
        service_id = self.backend.find(self._run())
        never = ServiceStatus(State.CANCELLED, detail="cancelled before it was submitted")
        self.save(self.record.with_last(service_id=service_id, ended=self._end(never) if service_id is None else None))

    def _cancel_job(self) -> None:
        self.backend.cancel(self.job_id or "", self._run())

    def _run(self) -> Run:
        last, index = self.record.last, len(self.record.submissions) - 1
        code = Code(last.code_digest, last.code_url)
        return Run(
            self.record.run_id,
            index,
            last.attempt,
            last.spec,
            self.target,
            code,
            last.limit_s,
            last.limit_reason,
            last.nonce,
            retries_left(self.record),
            last.paid_starts,
            last.job,
        )

    def _end(self, status: ServiceStatus) -> SubmissionEnd:
        return SubmissionEnd(
            state=status.state,
            reason=status.reason,
            exit_code=status.exit_code,
            started_at=status.started_at,
            ended_at=status.ended_at or self.clock(),
            detail=status.detail,
            console_url=status.console_url,
            restarts=status.restarts,
        )


def make_submission(
    spec: JobSpec,
    target: JobTarget,
    code: Code,
    before: Sequence[Submission],
    *,
    attempt: int,
    fresh: bool,
    now: float,
    submitter: str | None = None,
) -> Submission:
    """Return the next submission. Its limits are reduced by the time and cost that the submissions in `before` used."""
    ran = [earlier.ended.ran_s if earlier.ended else 0.0 for earlier in before]
    usd = sum(cost_usd(target, earlier.spec.nodes, seconds) or 0.0 for earlier, seconds in zip(before, ran, strict=True))
    limit_s, reason = time_limit(spec, target, sum(ran), usd)
    return Submission(
        attempt=attempt,
        spec=spec,
        spec_digest=digest(canonical(spec)),
        code_digest=code.digest,
        code_url=code.url,
        job=resolved_job(spec, target),
        limit_s=limit_s,
        limit_reason=reason,
        paid_starts=paid_starts(spec, target, limit_s, usd),
        fresh=fresh,
        written_at=now,
        submitter=submitter,
        nonce=secrets.token_hex(4),
    )
