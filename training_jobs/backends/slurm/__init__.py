"""The service `slurm`: a ticket in the queue of a Slurm cluster for each submission. `gpuyard head` on the cluster takes the ticket and
runs the job. The submitter needs rights to the run bucket, but no access to the cluster. Creating the ticket is idempotent.
"""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from ...errors import NotFoundError, UsageError
from ...mailbox import JOB_NAME, DamagedError, Heartbeat, Mailbox, Report, Ticket
from ...run import Run
from ...run_layout import split_run_url
from ...state import Reason, State
from ...store import Store, open_store
from ...target import SlurmTarget
from ..base import Capacity, LogLine, Request, ServiceStatus, require_same_run, run_variables
from ..bucket_logs import BucketLogs
from ..log_follow import follow_lines

__all__ = ["SlurmBackend"]

_SILENT_S = 60.0
"""Seconds without a heartbeat after which a status says that the head is silent."""


class SlurmBackend:
    """Jobs of one partition (backends/base.py describes the methods)."""

    poll_s = 2.0
    job_id = JOB_NAME

    def __init__(
        self,
        target: SlurmTarget,
        *,
        store: Store | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._target, self._clock, self._sleep = target, clock, sleep
        self._store = store or open_store(target.run_bucket)
        self._mailbox = Mailbox(self._store, target.pool)

    def request(self, run: Run) -> list[Request]:
        """Return the ticket. The head adds the secret of the nodes' control channel, so that the bucket never has it."""
        if run.spec.image is not None:
            raise UsageError("a job on a Slurm cluster runs with the Python of its machines; remove image: from the job file")
        variables = {**run_variables(replace(run, channel_secret="")), "GPUYARD_FIRST_ATTEMPT": str(run.attempt)}
        ticket = Ticket(
            run_id=run.id,
            nodes=run.spec.nodes,
            gpus_per_node=self._target.gpus_per_node,
            limit_s=run.limit_s,
            limit_reason=Reason(run.limit_reason),
            environment=variables,
        )
        return [Request("CreateTicket", {"job": run.name, "ticket": ticket.model_dump(mode="json", by_alias=True)})]

    def submit(self, run: Run) -> str:
        """Create the ticket if it does not exist yet."""
        self._mailbox.put(run.name, Ticket.model_validate(self.request(run)[0].body["ticket"]))
        return run.name

    def find(self, run: Run) -> str | None:
        """Find the submission's ticket by its name."""
        return run.name if self._mailbox.ticket(run.name) is not None else None

    def status(self, service_id: str) -> ServiceStatus:
        """Read the head's report. A job without a report counts as waiting for the head."""
        try:
            found = self._mailbox.report(service_id)
            if found is None and self._mailbox.ticket(service_id) is None:
                return ServiceStatus(State.UNKNOWN, detail=f"the queue has no job {service_id}")
        except DamagedError as error:
            return ServiceStatus(State.UNKNOWN, detail=str(error))
        report = found[0] if found else Report(state=State.PENDING, detail="not picked up yet")
        detail = report.detail
        if not report.state.ended and (silence := self._silence()) is not None:
            detail = "; ".join(filter(None, [detail, silence]))
        return ServiceStatus(report.state, report.reason, report.exit_code, report.started_at, report.ended_at, detail)

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """Read the lines that the nodes wrote to the run's folder."""
        ticket = self._mailbox.ticket(service_id)
        found = split_run_url(ticket.environment.get("GPUYARD_RUN_URL", "")) if ticket else None
        if ticket is None or found is None:
            return
        nodes = [node] if node is not None else list(range(ticket.nodes))
        reader = BucketLogs(self._store, found[1], service_id.rpartition(".")[2], nodes, since)

        def poll() -> tuple[list[LogLine], bool]:
            report = self._mailbox.report(service_id)
            ended = report is not None and report[0].state.ended  # before the lines, which the nodes write before they end
            return reader.read_new(), ended

        yield from follow_lines(poll, follow=follow, pause=lambda: self._sleep(self.poll_s), quiet_polls=1)

    def cancel(self, service_id: str, run: Run) -> None:
        """Ask the head to cancel the job. The head ignores the request for a job that has ended."""
        ticket = self._mailbox.ticket(service_id)
        if ticket is None:
            return
        require_same_run(run, service_id, ticket.environment)
        report = self._mailbox.report(service_id)
        if report is None or not report[0].state.ended:
            self._mailbox.put_cancel(service_id)

    def capacity(self) -> Capacity:
        """Return the numbers in the head's newest heartbeat. `detail` says if that heartbeat is old."""
        beat = self._heartbeat()
        return Capacity(beat.nodes, beat.free, beat.waiting, self._silence())

    def principal(self) -> str | None:
        """Return this process's user and machine."""
        try:
            return f"{getpass.getuser()}@{socket.gethostname()}"
        except (KeyError, OSError):  # a container's user may have no name
            return None

    def ready(self) -> None:
        """Check that a head has served the queue at least once. If the head is off now, tickets wait for it. Raises NotFoundError."""
        self._heartbeat()

    def _heartbeat(self) -> Heartbeat:
        found = self._mailbox.heartbeat()
        if found is None:
            url = f"{self._target.run_bucket}/gpuyard/queues/{self._target.pool}"
            line = f"gpuyard head --queue {url} --partition {self._target.partition}"
            raise NotFoundError(f"pool {self._target.pool}: no head has served its queue yet; run on the cluster: {line}")
        return found[0]

    def _silence(self) -> str | None:
        """Return a text that says how long the head has been silent, or that no head has run. None if the heartbeat is recent."""
        try:
            beat = self._heartbeat()
        except NotFoundError as error:
            return str(error)
        age = self._clock() - beat.at
        return f"the head on {beat.host} has not reported for {age:,.0f} s; start `gpuyard head` there" if age > _SILENT_S else None
