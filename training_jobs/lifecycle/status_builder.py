"""Build a run's status from its record, the service's answer and the documents that the nodes wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..backends.base import ServiceStatus
from ..run import cost_usd
from ..run_layout import claimed_attempts, run_url
from ..state import Reason, State
from ..status import SCHEMA, Attempt, Cost, FabricVerdict, Metrics, RunStatus, ServiceJob
from ..target import JobTarget
from .journal import RunRecord, Submission, SubmissionEnd
from .node_documents import (
    Claim,
    CurvePoint,
    NodeDocuments,
    NodeResult,
    Preflight,
    ProgressDocument,
    ReadOnce,
    read_fitting,
    readable_claims,
)

__all__ = ["build_status", "read_curve", "recorded_status"]


def build_status(journal: NodeDocuments, record: RunRecord, target: JobTarget, service: ServiceStatus, now: float) -> RunStatus:
    """Return a run's status. `service` is the service's answer about the newest submission, `now` the Unix time."""
    journal = ReadOnce(journal)
    claims, unlisted = readable_claims(journal, record.run_id)
    service = replace(service, detail="; ".join(filter(None, [service.detail, unlisted])) or None)
    answers = [service if submission is record.last else recorded_status(submission.ended) for submission in record.submissions]
    attempts = _attempts(journal, record, answers, claims)
    number = attempts[-1].attempt
    progress = _progress(journal, record, number)
    preflight = Preflight.from_document(journal.document(record.run_id, _output(number, "preflight.json")))
    folder = run_url(journal.url, record.run_id)
    starts = [attempt.started_at for attempt in attempts if attempt.started_at is not None]
    recovering = service.state is State.RUNNING and progress.phase == "recovering"
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
        command=record.last.spec.command,
        labels=record.last.spec.labels,
        submitted_at=record.created_at,
        submitted_by=record.last.submitter,
        started_at=min(starts) if starts else None,
        ended_at=service.ended_at if service.state.ended else None,
        exit_code=service.exit_code,
        phase=progress.phase,
        first_step=progress.first_step,
        first_step_at=progress.first_step_at,
        metrics=_metrics(progress),
        fabric=_fabric(preflight),
        cost=_cost(record, answers, target, now),
        checkpoint_url=f"{folder}/checkpoints",
        output_url=f"{folder}/output",
        service=ServiceJob(kind=target.kind, id=record.last.service_id, console_url=service.console_url),
    )


def recorded_status(end: SubmissionEnd | None) -> ServiceStatus:
    """Convert the recorded end of a submission to a service status. Without a recorded end it is UNKNOWN."""
    if end is None:
        return ServiceStatus(State.UNKNOWN)
    times = (end.started_at, end.ended_at)
    return ServiceStatus(end.state, end.reason, end.exit_code, *times, end.detail, end.console_url, end.restarts)


def _attempts(journal: NodeDocuments, record: RunRecord, answers: Sequence[ServiceStatus], claims: Sequence[int]) -> list[Attempt]:
    """Return one attempt for each start of the nodes. A submission that its service restarted has several."""
    ends = [*(submission.attempt for submission in record.submissions[1:]), math.inf]
    found: list[Attempt] = []
    for submission, end, status in zip(record.submissions, ends, answers, strict=True):
        numbers = [number for number in claimed_attempts(claims, submission.attempt) if number < end] or [submission.attempt]
        since, started_at = submission.written_at, status.started_at
        reasons = [*status.restarts, *[None] * len(numbers)]  # services report the reason of a restart late or never
        for number, reason in zip(numbers[:-1], reasons, strict=False):
            found.append(_restarted(journal, record, number, reason, since, started_at))
            since, started_at = found[-1].ended_at or since, _claimed_at(journal, record, number + 1)
        newest = _attempt(journal, record, submission, numbers[-1], status)
        found.append(newest if len(numbers) == 1 else newest.model_copy(update={"submitted_at": since, "started_at": started_at}))
    return found


def _claimed_at(journal: NodeDocuments, record: RunRecord, number: int) -> float | None:
    """Return the Unix time at which node 0 claimed an attempt, after all nodes had connected."""
    return read_fitting(Claim, journal.document(record.run_id, f"attempts/{number}.json")).claimed_at


def _restarted(
    journal: NodeDocuments, record: RunRecord, number: int, reason: Reason | None, submitted_at: float, started_at: float | None
) -> Attempt:
    """Return an attempt that ended because the service restarted the nodes. Its end comes from node 0's record, if there is one."""
    progress, result = _progress(journal, record, number), _node_result(journal, record, number, 0)
    return Attempt(
        attempt=number,
        state=State.STOPPED,
        reason=reason,
        exit_code=result.exit_code,
        submitted_at=submitted_at,
        started_at=started_at,
        ended_at=result.ended_at,
        step=_metrics(progress).step,
        restarts=progress.restarts,
        detail="restarted by the service",
    )


def _attempt(journal: NodeDocuments, record: RunRecord, submission: Submission, number: int, answer: ServiceStatus) -> Attempt:
    progress = _progress(journal, record, number)
    nodes = [_node_result(journal, record, number, rank) for rank in range(submission.spec.nodes if answer.state.ended else 0)]
    failed = next((node for node in nodes if node.tail and node.exit_code == answer.exit_code), NodeResult())
    return Attempt(
        attempt=number,
        state=answer.state,
        reason=answer.reason,
        exit_code=answer.exit_code,
        submitted_at=submission.written_at,
        started_at=answer.started_at,
        ended_at=answer.ended_at,
        step=_metrics(progress).step,
        restarts=progress.restarts,
        detail=answer.detail,
        tail=failed.shown_tail() if answer.state is State.FAILED else [],
    )


def _output(attempt: int, name: str) -> str:
    return f"output/attempt-{attempt}/{name}"


def _progress(journal: NodeDocuments, record: RunRecord, attempt: int) -> ProgressDocument:
    return read_fitting(ProgressDocument, journal.document(record.run_id, _output(attempt, "progress.json")))


def read_curve(journal: NodeDocuments, record: RunRecord, metric: str) -> list[CurvePoint]:
    """Return the reported values of a metric by step, ascending, as the newest attempt wrote them. Empty if it reported none."""
    first = record.last.attempt
    newest = max(claimed_attempts(readable_claims(journal, record.run_id)[0], first), default=first)
    return sorted(_progress(journal, record, newest).curves.get(metric, []))


def _node_result(journal: NodeDocuments, record: RunRecord, attempt: int, rank: int) -> NodeResult:
    return read_fitting(NodeResult, journal.document(record.run_id, _output(attempt, f"node-{rank}.json")))


def _metrics(progress: ProgressDocument) -> Metrics:
    """Return the metrics that the job reported. A value of the wrong type for its field goes to `other`."""
    reported = {**progress.metrics, "step": progress.step, "steps": progress.steps}
    found = read_fitting(Metrics, {name: value for name, value in reported.items() if name != "other"})
    used = {name for name in Metrics.model_fields if name != "other" and getattr(found, name) is not None}
    other = {name: value for name, value in reported.items() if name not in used and value is not None}
    return found.model_copy(update={"other": other})


def _fabric(preflight: Preflight) -> FabricVerdict:
    measured = preflight.all_reduce
    transport = measured.transport or measured.backend
    return FabricVerdict(transport=transport, nics=measured.nics, busbw_gbs=measured.busbw_gbs, verdict=preflight.verdict)


def _cost(record: RunRecord, answers: Sequence[ServiceStatus], target: JobTarget, now: float) -> Cost:
    """Return the cost so far. It is an upper bound: each submission counts from its first start to its end, including pauses."""
    hours = 0.0
    for submission, status in zip(record.submissions, answers, strict=True):
        if status.started_at is not None:
            hours += submission.spec.nodes * max(0.0, (status.ended_at or now) - status.started_at) / 3600
    caps = [cap for cap in (record.last.spec.max_cost_usd, target.limits.usd_per_job) if cap is not None]
    usd, price = cost_usd(target, 1, hours * 3600), target.price
    rate = "price unknown" if price.usd_per_node_hour is None else f"${price.usd_per_node_hour:,.2f}"
    basis = f"{hours:,.2f} node-hours x {rate} ({price.source})"
    return Cost(usd=None if usd is None else round(usd, 4), basis=basis, limit_usd=min(caps, default=None))
