"""A run in hand: its record, the service it goes to, and the steps that move it on, each one conditional."""

from __future__ import annotations

import contextlib
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
from .journal import Ended, Journal, RunRecord, Submission
from .resubmit import TAKE_OVER_AFTER_S, allowance_left, apply_allowance, retries_left
from .status_builder import NothingLeft, build_status, recorded

_CUTS = {  # what gpuyard itself ends: how it counts, and why
    Reason.CAPACITY: (State.FAILED, "queue_timeout: no nodes came free in time"),
    Reason.PREEMPTED: (State.STOPPED, "preempted more often than retries.preempted pays for"),
}
_REFUSED = {QuotaError: Reason.QUOTA, CapacityError: Reason.CAPACITY}


@dataclass
class Case:
    """One run as it was last read. A step raises store.ChangedError when somebody else moved the run first."""

    journal: Journal
    backend: Backend
    target: JobTarget
    record: RunRecord
    tag: str
    clock: Callable[[], float]
    said: ServiceStatus | GpuyardError | None = None
    """What the service answered where it was asked about many runs at once; good for one look."""

    def save(self, record: RunRecord) -> None:
        """Replace the record, if nobody else did."""
        self.tag = self.journal.replace(record, self.tag)
        self.record = record

    def look(self) -> ServiceStatus:
        """What the service says of the newest submission; its end is kept in the record, because services forget."""
        last = self.record.last
        if last.ended is not None:
            return recorded(last.ended)
        if last.service_id is None:
            if self.clock() - last.written_at < TAKE_OVER_AFTER_S:
                return ServiceStatus(State.PENDING, detail="being submitted")
            with contextlib.suppress(ChangedError):
                self.take_over()
            self.record, self.tag = self.journal.get(self.record.run_id)
            return self.look()
        status = apply_allowance(self._held_to_limits(self._answer(last.service_id), last.service_id), self.record)
        if not status.state.ended:
            return status
        try:
            self.save(self.record.with_last(ended=self._ended(status)))
        except ChangedError:
            self.record, self.tag = self.journal.get(self.record.run_id)
            return self.look()
        return status

    def _answer(self, service_id: str) -> ServiceStatus:
        said, self.said = self.said, None
        if isinstance(said, GpuyardError):
            raise said
        return said or self.backend.status(service_id)

    def _held_to_limits(self, status: ServiceStatus, service_id: str) -> ServiceStatus:
        """End what waits longer or starts more often than it may, where the service does not; the end is then ours to name.

        That it is cut is written down before the service is asked, so that whoever looks next names it the same.
        """
        if self.record.last.cut is None and (cause := self._beyond_limits(status)) is not None:
            self.save(self.record.with_last(cut=cause))
        cut = self.record.last.cut
        if cut is None:
            return status
        if not status.state.ended:
            self.backend.cancel(service_id)
            return replace(status, detail=f"{_CUTS[cut][1]}; it is being ended")
        if status.state in {State.CANCELLED, State.STOPPED}:
            return replace(status, state=_CUTS[cut][0], reason=cut, detail=_CUTS[cut][1])
        return status

    def _beyond_limits(self, status: ServiceStatus) -> Reason | None:
        last = self.record.last
        patience = last.spec.queue_timeout
        if patience is not None and status.state is State.PENDING and self.clock() - last.written_at > patience:
            return Reason.CAPACITY
        # While it waits for machines again, not once it runs: then the machines of one restart too many are paid for already.
        spent = status.restarts.count(Reason.PREEMPTED) > retries_left(self.record).preempted
        return Reason.PREEMPTED if spent and status.state is State.RECOVERING else None

    def status(self) -> RunStatus:
        """Where the run is now."""
        service = self.look()
        return build_status(self.journal, self.record, self.target, service, self.clock())

    def submitted(self) -> RunStatus:
        """A run that was submitted just now: nobody need be asked, its nodes have left nothing yet."""
        service = ServiceStatus(State.PENDING, detail="submitted")
        return build_status(NothingLeft(self.journal.url), self.record, self.target, service, self.clock())

    def unknown(self, why: str) -> RunStatus:
        """What the record alone tells, while the service cannot be asked."""
        return build_status(self.journal, self.record, self.target, ServiceStatus(State.UNKNOWN, detail=why), self.clock())

    def start(self) -> bool:
        """Call the service for the newest submission and write its id down. False when no time or money is left for it."""
        last = self.record.last
        if last.limit_s <= 0:
            spent = ServiceStatus(State.FAILED, Reason(last.limit_reason), detail=f"earlier attempts used up the {last.limit_reason} limit")
            self.save(self.record.with_last(ended=self._ended(spent)))
            return False
        try:
            service_id = self.backend.submit(self._run())
        except LostSightError:
            raise  # it may have been started: the record stays as it is, and whoever comes next looks it up
        except GpuyardError as refused:
            self._refused(refused)
            raise
        self.save(self.record.with_last(service_id=service_id))
        return True

    def _refused(self, error: GpuyardError) -> None:
        """Nothing was started, and nothing may start later behind the back of who was told so: the next submit tries again."""
        reason = _REFUSED.get(type(error), Reason.UNKNOWN)
        self.save(self.record.with_last(ended=self._ended(ServiceStatus(State.STOPPED, reason, detail=f"refused: {error}"))))

    def take_over(self) -> bool:
        """Finish what a writer left that died between the record and the call. True when the call had not been made."""
        self.save(self.record.with_last(written_at=self.clock()))
        service_id = self.backend.find(self._run())
        if service_id is None:
            self.save(self.record.with_last(written_at=self.clock()))  # looking took time: ours still, from now on
            return self.start()
        self.save(self.record.with_last(service_id=service_id))
        return False

    def next(self, spec: JobSpec, code: Code, *, fresh: bool) -> bool:
        """Write the next attempt down and start it."""
        attempt = max([*self.journal.claims(self.record.run_id), self.record.last.attempt]) + 1
        before = () if fresh else self.record.current
        following = submission(spec, self.target, code, before, attempt=attempt, fresh=fresh, now=self.clock())
        self.save(self.record.with_next(following))
        return self.start()

    def resume(self) -> bool:
        """Start the next attempt of a stopped run as it was, if its allowance pays for one."""
        last = self.record.last
        if last.ended is None or last.ended.state is not State.STOPPED or not allowance_left(self.record, last.ended.reason):
            return False
        return self.next(last.spec, Code(last.code_digest, last.code_url), fresh=False)

    def cancel(self) -> None:
        """End the run for good: at the service, or in the record where nothing is alive but a submit would resume it."""
        if self.look().state is State.STOPPED and self.record.last.ended is not None:
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
            retries_left(self.record),
        )

    def _ended(self, status: ServiceStatus) -> Ended:
        return Ended(
            state=status.state,
            reason=status.reason,
            exit_code=status.exit_code,
            started_at=status.started_at,
            ended_at=status.ended_at or self.clock(),
            detail=status.detail,
            console_url=status.console_url,
            restarts=status.restarts,
        )


def submission(
    spec: JobSpec, target: JobTarget, code: Code, before: Sequence[Submission], *, attempt: int, fresh: bool, now: float
) -> Submission:
    """A submission with what `before` left of its time and money."""
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
    )
