"""Puts a run's status together: the record, the service's word and what the nodes left."""

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
from ..status import SCHEMA, Attempt, Cost, FabricVerdict, Metrics, RunStatus, Service
from ..target import JobTarget
from .journal import Ended, RunRecord, Submission


class Left(Protocol):
    """What nodes left in the run bucket: a Journal, or nothing yet."""

    @property
    def url(self) -> str: ...  # noqa: D102

    def claims(self, run_id: str) -> list[int]: ...  # noqa: D102

    def document(self, run_id: str, path: str) -> dict[str, Any] | None: ...  # noqa: D102


@dataclass(frozen=True)
class NothingLeft:
    """Of a run whose nodes have not started."""

    url: str

    def claims(self, run_id: str) -> list[int]:
        """None."""
        return []

    def document(self, run_id: str, path: str) -> dict[str, Any] | None:
        """None."""
        return None


class _ReadOnce:
    """Each document is asked for once for one status: in a far bucket every look is a call."""

    def __init__(self, left: Left) -> None:
        self._left, self.url, self._documents = left, left.url, dict[tuple[str, str], dict[str, Any] | None]()

    def claims(self, run_id: str) -> list[int]:
        return self._left.claims(run_id)

    def document(self, run_id: str, path: str) -> dict[str, Any] | None:
        if (run_id, path) not in self._documents:
            self._documents[run_id, path] = self._left.document(run_id, path)
        return self._documents[run_id, path]


def build_status(journal: Left, record: RunRecord, target: JobTarget, service: ServiceStatus, now: float) -> RunStatus:
    """Put a run's status together. `service` is what its service says of the newest submission."""
    journal = _ReadOnce(journal)
    said = [service if submission is record.last else recorded(submission.ended) for submission in record.submissions]
    attempts = _attempts(journal, record, said)
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
        cost=_cost(record, said, target, now),
        checkpoint_url=f"{folder}/checkpoints",
        output_url=f"{folder}/output",
        service=Service(kind=target.kind, id=record.last.service_id, console_url=service.console_url),
    )


def recorded(end: Ended | None) -> ServiceStatus:
    """What a service said at the end of a submission, from the record."""
    if end is None:
        return ServiceStatus(State.UNKNOWN)
    times = (end.started_at, end.ended_at)
    return ServiceStatus(end.state, end.reason, end.exit_code, *times, end.detail, end.console_url, end.restarts)


def _attempts(journal: Left, record: RunRecord, said: Sequence[ServiceStatus]) -> list[Attempt]:
    """One for each start of the nodes: a submission whose service started them anew by itself has several, the newest its own."""
    claims = journal.claims(record.run_id)
    ends = [*(submission.attempt for submission in record.submissions[1:]), math.inf]
    found: list[Attempt] = []
    for submission, end, status in zip(record.submissions, ends, said, strict=True):
        numbers = [number for number in claims if submission.attempt <= number < end] or [submission.attempt]
        since, begun = submission.written_at, status.started_at
        reasons = [*status.restarts, *[None] * len(numbers)]  # a service tells late, and not always, why it started again
        for number, reason in zip(numbers[:-1], reasons, strict=False):
            found.append(_restarted(journal, record, number, reason, since, begun))
            since, begun = found[-1].ended_at or since, _claimed_at(journal, record, number + 1)
        newest = _attempt(journal, record, submission, numbers[-1], status)
        found.append(newest if len(numbers) == 1 else newest.model_copy(update={"submitted_at": since, "started_at": begun}))
    return found


def _claimed_at(journal: Left, record: RunRecord, number: int) -> float | None:
    """When the nodes of an attempt had found each other."""
    return _unix((journal.document(record.run_id, f"attempts/{number}.json") or {}).get("claimed_at"))


def _restarted(
    journal: Left, record: RunRecord, number: int, reason: Reason | None, submitted_at: float, started_at: float | None
) -> Attempt:
    """A start that the service replaced by another; its end is what its first node wrote down, if it could."""
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
        detail="started again by the service",
    )


def _attempt(journal: Left, record: RunRecord, submission: Submission, number: int, said: ServiceStatus) -> Attempt:
    progress = _documents(journal, record.run_id, number, "progress.json")
    nodes = [
        _documents(journal, record.run_id, number, f"node-{rank}.json") for rank in range(submission.spec.nodes if said.state.ended else 0)
    ]
    failed = next((node for node in nodes if node.get("tail") and node.get("exit_code") == said.exit_code), {})
    return Attempt(
        attempt=number,
        state=said.state,
        reason=said.reason,
        exit_code=said.exit_code,
        submitted_at=submission.written_at,
        started_at=said.started_at,
        ended_at=said.ended_at,
        step=_metrics(progress).step,
        restarts=progress.get("restarts", 0),
        detail=said.detail,
        tail=list(failed.get("tail", [])) if said.state is State.FAILED else [],
    )


def _documents(journal: Left, run_id: str, attempt: int, name: str) -> dict[str, Any]:
    return journal.document(run_id, f"output/attempt-{attempt}/{name}") or {}


def _metrics(progress: dict[str, Any]) -> Metrics:
    """What the job reported; a figure that does not fit its field is the script's own business and goes to `other`."""
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


def _cost(record: RunRecord, said: Sequence[ServiceStatus], target: JobTarget, now: float) -> Cost:
    """By submission: while a service starts nodes anew by itself it is taken to hold the machines, which bounds the cost from above."""
    hours = 0.0
    for submission, status in zip(record.submissions, said, strict=True):
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
