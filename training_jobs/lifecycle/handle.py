"""RunHandle: a run's record and its service, with the conditional steps that move the run forward."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..backends.base import Backend, ServiceStatus
from ..errors import CapacityError, GpuyardError, LostSightError, QuotaError
from ..run import Code, Run, canonical, cost_usd, digest, resolved_job, time_limit
from ..spec import JobSpec
from ..state import Reason, State
from ..status import RunStatus
from ..store import ChangedError
from ..target import JobTarget
from .journal import Journal, RunRecord, Submission, SubmissionEnd
from .node_documents import NoDocuments
from .resubmit import TAKE_OVER_AFTER_S, apply_allowance, has_retry_left, retries_left
from .status_builder import build_status, recorded_status

__all__ = ["RunHandle", "make_submission"]

_CUTS = {  # jobs that gpuyard itself ends: the state they count as, and the detail shown
    Reason.CAPACITY: (State.FAILED, "queue_timeout: no nodes became free in time"),
    Reason.PREEMPTED: (State.STOPPED, "preempted more often than retries.preempted allows"),
}
_REFUSED = {QuotaError: Reason.QUOTA, CapacityError: Reason.CAPACITY}


@dataclass
class RunHandle:
    """One run as last read from the journal.

    Each step writes the record conditionally. It raises store.ChangedError when another process changed the record first.
    """

    journal: Journal
    backend: Backend
    target: JobTarget
    record: RunRecord
    tag: str
    clock: Callable[[], float]
    seen_at: float
    """When this process first saw the record as it is, by its own clock (Unix time)."""
    prefetched: ServiceStatus | GpuyardError | None = None
    """The service's answer from one call about many runs. The next `refresh` uses it up."""

    def save(self, record: RunRecord) -> None:
        """Replace the record in the journal. Raises ChangedError when another process changed it first."""
        self.tag = self.journal.replace(record, self.tag)
        self.record = record

    def refresh(self) -> ServiceStatus:
        """Query the service about the newest submission. Its end is written into the record, because services forget jobs."""
        last = self.record.last
        if last.ended is not None:
            return recorded_status(last.ended)
        if last.service_id is None:
            if self.clock() - self.written_at < TAKE_OVER_AFTER_S:
                return ServiceStatus(State.PENDING, detail=self._skew() or "being submitted")
            with contextlib.suppress(ChangedError):
                self.take_over()
            return self._read_again()
        status = apply_allowance(self._enforce_limits(self._service_status(last.service_id), last.service_id), self.record)
        if not status.state.ended:
            return status
        try:
            self.save(self.record.with_last(ended=self._end(status)))
        except ChangedError:
            return self._read_again()
        return status

    def _read_again(self) -> ServiceStatus:
        self.record, self.tag = self.journal.get(self.record.run_id)
        self.seen_at = self.clock()
        return self.refresh()

    @property
    def written_at(self) -> float:
        """When the record was written before its service call, never later than this process saw it.

        So a record from a clock that is ahead of this one is not waited for until this clock gets there.
        """
        return min(self.record.last.written_at, self.seen_at)

    def _skew(self) -> str | None:
        ahead = self.record.last.written_at - self.seen_at
        return f"being submitted; its record is from a clock {ahead:,.0f} s ahead of this one" if ahead > TAKE_OVER_AFTER_S else None

    def _service_status(self, service_id: str) -> ServiceStatus:
        answer, self.prefetched = self.prefetched, None
        if isinstance(answer, GpuyardError):
            raise answer
        return answer or self.backend.status(service_id)

    def _enforce_limits(self, status: ServiceStatus, service_id: str) -> ServiceStatus:
        """Cancel a job that waits too long or restarts too often, if the service itself does not end it.

        The reason is written into the record before the service is called, so that every later reader reports the same end.
        """
        if self.record.last.cut is None and (cause := self._beyond_limits(status)) is not None:
            self.save(self.record.with_last(cut=cause))
        cut = self.record.last.cut
        if cut is None:
            return status
        if not status.state.ended:
            self.backend.cancel(service_id)
            return replace(status, detail=f"{_CUTS[cut][1]}; cancelling it")
        if status.state in {State.CANCELLED, State.STOPPED}:
            return replace(status, state=_CUTS[cut][0], reason=cut, detail=_CUTS[cut][1])
        return status

    def _beyond_limits(self, status: ServiceStatus) -> Reason | None:
        last = self.record.last
        patience = last.spec.queue_timeout
        if patience is not None and status.state is State.PENDING and self.clock() - last.written_at > patience:
            return Reason.CAPACITY
        # Only while the job waits for machines: once it runs, the machines of the restart too many are paid for already.
        spent = status.restarts.count(Reason.PREEMPTED) > retries_left(self.record).preempted
        return Reason.PREEMPTED if spent and status.state is State.RECOVERING else None

    def status(self) -> RunStatus:
        """Return the run's status now."""
        service = self.refresh()
        return build_status(self.journal, self.record, self.target, service, self.clock())

    def submitted_status(self) -> RunStatus:
        """Return the status right after a submit, without a call: the nodes have written nothing yet."""
        service = ServiceStatus(State.PENDING, detail="submitted")
        return build_status(NoDocuments(self.journal.url), self.record, self.target, service, self.clock())

    def unknown_status(self, detail: str) -> RunStatus:
        """Return an UNKNOWN status from the record alone; `detail`: why the service cannot be queried."""
        return build_status(self.journal, self.record, self.target, ServiceStatus(State.UNKNOWN, detail=detail), self.clock())

    def start(self) -> bool:
        """Submit the newest submission to the service and record its id.

        Returns False, and records the end, when earlier attempts used up the time or cost limit.
        """
        last = self.record.last
        if last.limit_s <= 0:
            spent = ServiceStatus(State.FAILED, Reason(last.limit_reason), detail=f"earlier attempts used up the {last.limit_reason} limit")
            self.save(self.record.with_last(ended=self._end(spent)))
            return False
        try:
            service_id = self.backend.submit(self._run())
        except LostSightError:
            raise  # the job may have started: the record stays as it is, and the next submit looks the job up
        except GpuyardError as refused:
            self._record_refusal(refused)
            raise
        self.save(self.record.with_last(service_id=service_id))
        return True

    def _record_refusal(self, error: GpuyardError) -> None:
        """Record that the service refused and nothing started. Only the next submit tries again (docs/adr/0008)."""
        reason = _REFUSED.get(type(error), Reason.UNKNOWN)
        self.save(self.record.with_last(ended=self._end(ServiceStatus(State.STOPPED, reason, detail=f"refused: {error}"))))

    def take_over(self) -> bool:
        """Finish a submit whose process died between the record and the service call.

        Returns True when the call had not been made, so that this process started the job.
        """
        self.save(self.record.with_last(written_at=self.clock()))
        service_id = self.backend.find(self._run())
        if service_id is None:
            self.save(self.record.with_last(written_at=self.clock()))  # the look-up took time: renew the claim on the record
            return self.start()
        self.save(self.record.with_last(service_id=service_id))
        return False

    def start_next(self, spec: JobSpec, code: Code, *, fresh: bool) -> bool:
        """Record the next submission and start it. `fresh` restarts the clocks and allowances."""
        attempt = max([*self.journal.claims(self.record.run_id), self.record.last.attempt]) + 1
        before = () if fresh else self.record.current
        following = make_submission(spec, self.target, code, before, attempt=attempt, fresh=fresh, now=self.clock())
        self.save(self.record.with_next(following))
        return self.start()

    def resume(self) -> bool:
        """Start the next attempt of a STOPPED run with the same spec and code. Returns False when no retry is left."""
        last = self.record.last
        if last.ended is None or last.ended.state is not State.STOPPED or not has_retry_left(self.record, last.ended.reason):
            return False
        return self.start_next(last.spec, Code(last.code_digest, last.code_url), fresh=False)

    def cancel(self) -> None:
        """Cancel the run: at the service while a job is alive, else in the record, so that no submit resumes it."""
        if self.refresh().state is State.STOPPED and self.record.last.ended is not None:
            self.save(self.record.with_last(ended=self.record.last.ended.model_copy(update={"state": State.CANCELLED})))
        elif self.record.last.service_id is not None and self.record.last.ended is None:
            self.backend.cancel(self.record.last.service_id)

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
    spec: JobSpec, target: JobTarget, code: Code, before: Sequence[Submission], *, attempt: int, fresh: bool, now: float
) -> Submission:
    """Return the next submission. Its limits are the time and cost that the submissions in `before` left."""
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
        fresh=fresh,
        written_at=now,
        nonce=secrets.token_hex(4),
    )
