"""The loop of `gpuyard head`: each turn looks at every open job once. A restarted head finds all that it needs in the bucket and in Slurm.

The head submits a job to Slurm at most once. It first writes a report that it is about to submit the job. Before it calls sbatch, it looks
for the job's name in Slurm's list. It stops if another head has written a newer heartbeat.
"""

from __future__ import annotations

import secrets
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..backends.node_results import count_starts, node_exit_codes
from ..errors import ConflictError, GpuyardError, LostSightError
from ..mailbox import DamagedError, Heartbeat, Mailbox, Report, Ticket
from ..state import Reason, State
from ..store import ChangedError
from .slurm import JobRow, RefusedError, Slurm
from .states import forgotten, refusal_reason, report_of

__all__ = ["Head", "serve"]

_BUSY_S, _IDLE_S = 2.0, 10.0
_FORGOTTEN_S = 60.0
"""The head ends a job that Slurm has not listed for this many seconds."""


@dataclass
class Head:
    """The head of one queue."""

    mailbox: Mailbox
    slurm: Slurm
    clock: Callable[[], float] = time.time
    advance: Callable[[str], None] = lambda _: None
    """Function that enforces the limits of a run and starts its next attempt (`Runner.advance`). Then no `gpuyard wait` needs to run."""
    holder: str = field(default_factory=lambda: secrets.token_hex(8))
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)
    heartbeat_s: float = 10.0
    advance_s: float = 30.0
    """Seconds between two calls of `advance` for a job that has not ended."""
    _advanced_at: dict[str, float] = field(default_factory=dict)
    _tag: str | None = None
    _beat_at: float = 0.0

    def take_over(self) -> None:
        """Become the head. An older head stops at its next turn. Raises LostSightError if Slurm does not answer."""
        found = self.mailbox.heartbeat()
        self._tag = found[1] if found else None
        self._beat()

    def turn(self) -> float:
        """Look at every open job once. Returns how many seconds to sleep. Raises ConflictError if another head took over.

        An outage of Slurm ends the turn; reports then stay as they are.
        """
        if self.clock() - self._beat_at >= self.heartbeat_s:
            self._beat()
        names, cancelled = self.mailbox.open_jobs()
        rows = self.slurm.jobs()
        waiting = [row.name for each in rows.values() for row in each if row.state == "PENDING"]
        for name in names:
            try:
                self._look_at(name, rows.get(name, []), name in cancelled, waiting)
            except DamagedError as error:
                self.say(str(error))
        self._advanced_at = {name: at for name, at in self._advanced_at.items() if name in names}
        return _BUSY_S if names else _IDLE_S

    def _beat(self) -> None:
        numbers = self.slurm.partition()
        beat = Heartbeat(
            holder=self.holder,
            at=self.clock(),
            host=socket.gethostname(),
            nodes=numbers.nodes,
            free=numbers.free,
            waiting=numbers.waiting,
        )
        self._write_beat(beat)

    def _write_beat(self, beat: Heartbeat) -> None:
        try:
            self._tag = self.mailbox.write_heartbeat(beat, self._tag)
        except ChangedError:
            raise ConflictError(
                "another `gpuyard head` has taken over this queue, so this head has stopped; run one head for each queue"
            ) from None
        self._beat_at = self.clock()

    def _look_at(self, name: str, rows: Sequence[JobRow], cancel: bool, waiting: Sequence[str]) -> None:
        """Do the next step for one job, and write its new report."""
        ticket, found = self.mailbox.ticket(name), self.mailbox.report(name)
        if ticket is None:
            return
        report, tag = found if found else (None, None)
        if report is not None and report.state.ended:
            self._close(name, ticket)
            return
        following = self._next(name, ticket, report, rows, cancel, waiting)
        if following != report:
            tag = self.mailbox.write_report(name, following, tag)
        if following.slurm_job is None and following.missing_since is None and not following.state.ended:
            self._start(name, ticket, following, tag or "")
        if following.state.ended:
            self.say(f"{name}: {following.state}{f' ({following.reason})' if following.reason else ''}")
            self._close(name, ticket)
        elif self.clock() - self._advanced_at.get(name, 0.0) >= self.advance_s:
            self._advanced_at[name] = self.clock()
            self._advance(ticket)

    def _close(self, name: str, ticket: Ticket) -> None:
        """Start the run's next attempt, then move the ticket out of `in/`.

        If the head dies between the two steps, the next head repeats both.
        """
        self._advance(ticket)
        self.mailbox.close(name)

    def _advance(self, ticket: Ticket) -> None:
        """Advance a run. If only this run fails, print the error and go on; the next `gpuyard wait` or submit shows the error too."""
        try:
            self.advance(ticket.run_id)
        except LostSightError:
            raise
        except GpuyardError as error:
            self.say(f"run {ticket.run_id}: its next attempt cannot be started: {error}")

    def _next(
        self, name: str, ticket: Ticket, report: Report | None, rows: Sequence[JobRow], cancel: bool, waiting: Sequence[str]
    ) -> Report:
        """Return the report to write now. If the report is of a waiting job without a Slurm id, the caller submits the job."""
        if rows:
            return self._listed(name, ticket, report, rows, cancel, waiting)
        if report is None or report.slurm_job is None:
            if cancel:
                return Report(state=State.CANCELLED, ended_at=self.clock(), detail="cancelled before it started")
            if report is not None and self._claimed(ticket):  # submitted by a head that died, and already forgotten by Slurm
                return self._missing(ticket, report)
            return Report(state=State.PENDING, detail="handed to Slurm")
        return self._missing(ticket, report)

    def _listed(
        self, name: str, ticket: Ticket, report: Report | None, rows: Sequence[JobRow], cancel: bool, waiting: Sequence[str]
    ) -> Report:
        row, *twins = rows
        for twin in twins:  # a second head submitted it too; `singleton` kept it waiting
            if twin.ended_at is None or twin.state == "PENDING":
                self.slurm.cancel(twin.id)
        cut = report.cut if report else None
        following = report_of(
            row,
            ticket,
            ahead=waiting.index(name) if name in waiting else 0,
            cut=cut,
            exit_code=lambda: self.slurm.exit_code(row.id),
            node_exit_codes=lambda: node_exit_codes(ticket.environment, ticket.nodes),
            claimed=lambda: self._claimed(ticket),
        )
        if following.state.ended:
            return following
        late = following.started_at is not None and self.clock() - following.started_at > ticket.limit_s
        if late and cut is None:
            following = following.model_copy(update={"cut": Reason(ticket.limit_reason), "detail": "at its time limit; cancelling it"})
        if cancel or following.cut is not None:
            self.slurm.cancel(row.id)
        return following

    def _missing(self, ticket: Ticket, report: Report) -> Report:
        """Return the report of a job that Slurm does not list. The job ends only if Slurm has not listed it for _FORGOTTEN_S seconds."""
        since = report.missing_since or self.clock()
        if self.clock() - since < _FORGOTTEN_S:
            return report.model_copy(update={"missing_since": since, "detail": "Slurm does not list the job"})
        return forgotten(ticket, report, self.clock(), lambda: node_exit_codes(ticket.environment, ticket.nodes))

    def _start(self, name: str, ticket: Ticket, report: Report, tag: str) -> None:
        """Submit the job to Slurm and report its Slurm id. Before this call, the caller has reported that the job is handed to Slurm."""
        self._beat()  # only the newest head submits
        try:
            job = self.slurm.submit(name, ticket, secrets.token_hex(32))
        except RefusedError as error:
            reason = refusal_reason(str(error))
            end = {"state": State.FAILED, "reason": reason, "ended_at": self.clock(), "detail": f"Slurm refused the job: {error}"}
            self.mailbox.write_report(name, report.model_copy(update=end), tag)
            return
        self.say(f"{name}: Slurm job {job}")
        self.mailbox.write_report(name, report.model_copy(update={"slurm_job": job, "detail": "accepted by Slurm"}), tag)

    def _claimed(self, ticket: Ticket) -> bool:
        return count_starts(ticket.environment) > 0


def serve(head: Head, sleep: Callable[[float], None]) -> None:
    """Become the head and call `turn` forever. An outage of Slurm or of the bucket is printed, and the loop continues."""
    head.take_over()
    while True:
        try:
            pause = head.turn()
        except LostSightError as error:
            head.say(str(error))
            pause = _IDLE_S
        sleep(pause)
