"""RunStatus: the document that `status --json` and other commands print about a run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ..plain_data import PlainDict
from .state import Reason, State

__all__ = ["SCHEMA", "Attempt", "Cost", "FabricVerdict", "Metrics", "RunStatus", "ServiceJob"]

SCHEMA = "gpuyard.status/1"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metrics(_Model):
    """The newest metrics of the job; null = not reported."""

    step: int | None = None
    steps: int | None = Field(None, description="total steps")
    loss: float | None = None
    val_loss: float | None = None
    tokens_per_s: float | None = None
    mfu: float | None = Field(None, description="model FLOPs utilisation, 0..1")
    goodput: float | None = Field(None, description="productive share of the wall time over all attempts, 0..1")
    lost_steps: int | None = Field(None, description="steps computed more than once over all attempts")
    other: PlainDict = Field(default_factory=dict, description="all other reported metrics, unchanged")


class FabricVerdict(_Model):
    """The preflight's measurement of the network between nodes."""

    transport: str | None = None
    nics: int | None = None
    busbw_gbs: float | None = Field(None, description="bus bandwidth of the all-reduce, in GB/s")
    verdict: str | None = None


class Cost(_Model):
    """The run's cost so far."""

    usd: float | None = Field(description="cost in USD; null = the price is unknown")
    basis: str = Field(description="node-hours, price of a node-hour, and source of the price")
    limit_usd: float | None = Field(description="the smaller of max_cost_usd and the stack's limit; null = no limit")


class Attempt(_Model):
    """One start of the nodes. If the service restarts a job, its submission has several attempts."""

    attempt: int
    state: State
    reason: Reason | None
    exit_code: int | None
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    step: int | None = None
    restarts: int = 0
    detail: str | None = None
    tail: list[str] = Field(default_factory=list, description="last log lines of the worker that failed")


class ServiceJob(_Model):
    """The newest job of the run at its service."""

    kind: str
    id: str | None
    console_url: str | None


class RunStatus(_Model):
    """The state of a run, its attempts, metrics and cost. Times are Unix times."""

    schema_: str = Field(SCHEMA, alias="schema", serialization_alias="schema")
    run_id: str
    name: str
    spec_digest: str
    stack: str
    pool: str
    state: State
    reason: Reason | None
    detail: str | None
    attempt: int
    attempts: list[Attempt]
    nodes: int
    gpus: str | None = Field(description="GPUs of one node, as in a job file: H100:8; null = none")
    command: list[str] = Field(default_factory=list, description="`command` of the job file")
    labels: dict[str, str] = Field(default_factory=dict, description="`labels` of the job file")
    submitted_at: float
    submitted_by: str | None = Field(None, description="identity of the newest submission's submitter, from its record; null = unknown")
    started_at: float | None
    ended_at: float | None
    exit_code: int | None = Field(description="the job's own exit code")
    phase: str | None = Field(description="setup, preflight, running, recovering; null before the start")
    first_step: int | None = Field(None, description="first step that this attempt reported, such as 400 after a resume")
    first_step_at: float | None
    metrics: Metrics
    fabric: FabricVerdict
    cost: Cost
    checkpoint_url: str
    output_url: str
    service: ServiceJob
