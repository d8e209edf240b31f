"""Build a run's status from its record, the service's answer and the documents that the nodes wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from ..backends.base import ServiceStatus
from ..run import cost_usd
from ..run_layout import run_url
from ..state import Reason, State
from ..status import SCHEMA, Attempt, Cost, FabricVerdict, Metrics, RunStatus, ServiceJob
from ..target import JobTarget
from .journal import RunRecord, Submission, SubmissionEnd

__all__ = ["NoDocuments", "NodeDocuments", "build_status", "recorded_status"]


class NodeDocuments(Protocol):
    """The documents that a run's nodes wrote into the run bucket: a Journal, or NoDocuments."""

    @property
    def url(self) -> str: ...  # noqa: D102

    def claims(self, run_id: str) -> list[int]: ...  # noqa: D102

    def document(self, run_id: str, path: str) -> dict[str, Any] | None: ...  # noqa: D102


@dataclass(frozen=True)
class NoDocuments:
    """The documents of a run whose nodes have not started: none."""

    url: str

    def claims(self, run_id: str) -> list[int]:
        """Return no attempt."""
        return []

    def document(self, run_id: str, path: str) -> dict[str, Any] | None:
        """Return no document."""
        return None


class _ReadOnce:
    """A cache that reads each document at most once for one status: in a cloud bucket every read is a call."""

    def __init__(self, source: NodeDocuments) -> None:
        self._source, self.url, self._documents = source, source.url, dict[tuple[str, str], dict[str, Any] | None]()

    def claims(self, run_id: str) -> list[int]:
        return self._source.claims(run_id)

    def document(self, run_id: str, path: str) -> dict[str, Any] | None:
        if (run_id, path) not in self._documents:
            self._documents[run_id, path] = self._source.document(run_id, path)
        return self._documents[run_id, path]


def build_status(journal: NodeDocuments, record: RunRecord, target: JobTarget, service: ServiceStatus, now: float) -> RunStatus:
    """Return a run's status. `service` is the service's answer about the newest submission, `now` the Unix time."""
    journal = _ReadOnce(journal)
    answers = [service if submission is record.last else recorded_status(submission.ended) for submission in record.submissions]
    attempts = _attempts(journal, record, answers)
    number = attempts[-1].attempt
    progress = _documents(journal, record.run_id, number, "progress.json")
    folder = run_url(journal.url, record.run_id)
    starts = [attempt.started_at for attempt in attempts if attempt.started_at is not None]
    recovering = service.state is State.RUNNING and progress.get("phase") == "recovering"
    return RunStatus(
        schema=SCHEMA,
        run_id=record.run_id,
        name=record.name,
        spec_digest=record.last.spec_digest,
        stack=record.stack,
        pool=record.pool,
        state=State.RECOVERING if recovering else service.state,
        reason=service.reason,
        detail=service.detail,
        attempt=number,
        attempts=attempts,
        nodes=record.last.spec.nodes,
        gpus=f"{target.accelerator}:{target.gpus_per_node}" if target.accelerator else None,
        submitted_at=record.created_at,
        started_at=min(starts) if starts else None,
        ended_at=service.ended_at if service.state.ended else None,
        exit_code=service.exit_code,
        phase=progress.get("phase"),
        first_step_at=_unix(progress.get("first_step_at")),
        metrics=_metrics(progress),
        fabric=_fabric(_documents(journal, record.run_id, number, "preflight.json")),
        cost=_cost(record, answers, target, now),
        checkpoint_url=f"{folder}/checkpoints",
        output_url=f"{folder}/output",
        service=ServiceJob(kind=target.kind, id=record.last.service_id, console_url=service.console_url),
    )


def recorded_status(end: SubmissionEnd | None) -> ServiceStatus:
    """Return the recorded end of a submission as a service status. UNKNOWN when none was recorded."""
    if end is None:
        return ServiceStatus(State.UNKNOWN)
    times = (end.started_at, end.ended_at)
    return ServiceStatus(end.state, end.reason, end.exit_code, *times, end.detail, end.console_url, end.restarts)


def _attempts(journal: NodeDocuments, record: RunRecord, answers: Sequence[ServiceStatus]) -> list[Attempt]:
    """Return one attempt for each start of the nodes. A submission that its service restarted has several."""
    claims = journal.claims(record.run_id)
    ends = [*(submission.attempt for submission in record.submissions[1:]), math.inf]
    found: list[Attempt] = []
    for submission, end, status in zip(record.submissions, ends, answers, strict=True):
        numbers = [number for number in claims if submission.attempt <= number < end] or [submission.attempt]
        since, begun = submission.written_at, status.started_at
        reasons = [*status.restarts, *[None] * len(numbers)]  # a service reports the reason of a restart late, and not always
        for number, reason in zip(numbers[:-1], reasons, strict=False):
            found.append(_restarted(journal, record, number, reason, since, begun))
            since, begun = found[-1].ended_at or since, _claimed_at(journal, record, number + 1)
        newest = _attempt(journal, record, submission, numbers[-1], status)
        found.append(newest if len(numbers) == 1 else newest.model_copy(update={"submitted_at": since, "started_at": begun}))
    return found


def _claimed_at(journal: NodeDocuments, record: RunRecord, number: int) -> float | None:
    """Return the Unix time at which node 0 claimed an attempt, after all nodes had connected."""
    return _unix((journal.document(record.run_id, f"attempts/{number}.json") or {}).get("claimed_at"))


def _restarted(
    journal: NodeDocuments, record: RunRecord, number: int, reason: Reason | None, submitted_at: float, started_at: float | None
) -> Attempt:
    """Return an attempt that the service ended by a restart. Its end is what node 0 wrote, if it could."""
    progress = _documents(journal, record.run_id, number, "progress.json")
    result = _documents(journal, record.run_id, number, "node-0.json")
    return Attempt(
        attempt=number,
        state=State.STOPPED,
        reason=reason,
        exit_code=result.get("exit_code"),
        submitted_at=submitted_at,
        started_at=started_at,
        ended_at=_unix(result.get("ended_at")),
        step=_metrics(progress).step,
        restarts=progress.get("restarts", 0),
        detail="restarted by the service",
    )


def _attempt(journal: NodeDocuments, record: RunRecord, submission: Submission, number: int, answer: ServiceStatus) -> Attempt:
    progress = _documents(journal, record.run_id, number, "progress.json")
    nodes = [
        _documents(journal, record.run_id, number, f"node-{rank}.json")
        for rank in range(submission.spec.nodes if answer.state.ended else 0)
    ]
    failed = next((node for node in nodes if node.get("tail") and node.get("exit_code") == answer.exit_code), {})
    return Attempt(
        attempt=number,
        state=answer.state,
        reason=answer.reason,
        exit_code=answer.exit_code,
        submitted_at=submission.written_at,
        started_at=answer.started_at,
        ended_at=answer.ended_at,
        step=_metrics(progress).step,
        restarts=progress.get("restarts", 0),
        detail=answer.detail,
        tail=list(failed.get("tail", [])) if answer.state is State.FAILED else [],
    )


def _documents(journal: NodeDocuments, run_id: str, attempt: int, name: str) -> dict[str, Any]:
    return journal.document(run_id, f"output/attempt-{attempt}/{name}") or {}


def _metrics(progress: dict[str, Any]) -> Metrics:
    """Return the metrics that the job reported. A value of the wrong type for its field goes to `other`."""
    reported = {**(progress.get("metrics") or {}), "step": progress.get("step"), "steps": progress.get("steps")}
    fitting: dict[str, Any] = {}
    for name in [name for name in Metrics.model_fields if name != "other" and reported.get(name) is not None]:
        try:
            Metrics.model_validate({name: reported[name]})
        except ValidationError:
            continue
        fitting[name] = reported[name]
    other = {name: value for name, value in reported.items() if name not in fitting and value is not None}
    return Metrics(**fitting, other=other)


def _fabric(preflight: dict[str, Any]) -> FabricVerdict:
    measured = (preflight.get("checks") or {}).get("all_reduce") or {}
    return FabricVerdict(
        transport=measured.get("transport", measured.get("backend")),
        nics=measured.get("nics"),
        busbw_gbs=measured.get("busbw_gbs"),
        verdict=preflight.get("verdict"),
    )


def _cost(record: RunRecord, answers: Sequence[ServiceStatus], target: JobTarget, now: float) -> Cost:
    """Return the cost so far, an upper bound: a submission counts from its first start to its end, its service's restarts included."""
    hours = 0.0
    for submission, status in zip(record.submissions, answers, strict=True):
        if status.started_at is not None:
            hours += submission.spec.nodes * max(0.0, (status.ended_at or now) - status.started_at) / 3600
    caps = [cap for cap in (record.last.spec.max_cost_usd, target.limits.usd_per_job) if cap is not None]
    usd, price = cost_usd(target, 1, hours * 3600), target.price
    rate = "price unknown" if price.usd_per_node_hour is None else f"${price.usd_per_node_hour:,.2f}"
    basis = f"{hours:,.2f} node-hours x {rate} ({price.source})"
    return Cost(usd=None if usd is None else round(usd, 4), basis=basis, limit_usd=min(caps, default=None))


def _unix(moment: object) -> float | None:
    if isinstance(moment, int | float):
        return float(moment)
    if not isinstance(moment, str):
        return None
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()
