"""A run's identity and limits: run ids, digests, the resolved job document, cost and time limits. Pure functions."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..plain_data import PlainDict, PlainMapping
from ..problems import Problem
from .data_entries import copied_names, data_urls
from .errors import UsageError
from .run_layout import record_url, run_url
from .spec import JobSpec, Retries
from .target import JobTarget

__all__ = [
    "Code",
    "Run",
    "canonical",
    "cost_usd",
    "difference",
    "digest",
    "paid_starts",
    "resolve_url",
    "resolved_job",
    "run_id",
    "time_limit",
    "yard_bucket",
]

# Keys that change limits, not the computation. `pool` comes from the target; the content of `code` has its own digest.
_NOT_HASHED = {"timeout", "queue_timeout", "max_cost_usd", "retries", "max_restarts", "labels", "priority", "pool", "code"}


@dataclass(frozen=True)
class Code:
    """The code of a run: `digest` covers the user's files, `url` is the tarball with them."""

    digest: str
    url: str


@dataclass(frozen=True)
class Run:
    """One submission of a run, as a backend needs it.

    `submission` counts from 0. `attempt` is the lowest attempt number that its nodes may claim. `limit_s` is its longest run time in
    seconds. `limit_reason` says which limit that is: `timeout` or `cost`.
    """

    id: str
    submission: int
    attempt: int
    spec: JobSpec
    target: JobTarget
    code: Code
    limit_s: int
    limit_reason: str
    nonce: str = ""  # of the submission, kept in its record
    retries_left: Retries | None = None  # when this submission starts; None = the whole allowance
    paid_starts: int | None = None  # starts of `limit_s` seconds each that the cost limit pays for; None = no cost limit
    job: PlainDict | None = None  # the job document as its record has it; None = resolved from spec and target
    channel_secret: str = field(default="", repr=False)  # only while the job is submitted; kept in no record

    @property
    def retries(self) -> Retries:
        """The number of restarts that the service itself may make, for each reason."""
        return self.spec.retries if self.retries_left is None else self.retries_left

    @property
    def name(self) -> str:
        """The name of this submission in a local pool."""
        return f"{self.id}.{self.ordinal}"

    @property
    def ordinal(self) -> str:
        """The part of every job name that distinguishes the submissions of a run.

        It contains the random nonce of the record. Without the nonce, a job of another record with the same run id (a deleted record, or
        one in another bucket) could be mistaken for this submission.
        """
        return f"{self.submission}-{self.nonce}" if self.nonce else str(self.submission)

    @property
    def url(self) -> str:
        """The URL of the run's folder, in which its nodes write checkpoints and output."""
        return run_url(self.target.run_bucket, self.id)

    @property
    def job_digest(self) -> str:
        """The sha256 of the job document and attempt number. It is in the request, so that launch can refuse a changed record."""
        job = resolved_job(self.spec, self.target) if self.job is None else self.job
        return digest({"attempt": self.attempt, "job": job})

    @property
    def record_url(self) -> str:
        """The URL of the run's record, which the nodes read and submitters write."""
        return record_url(self.target.run_bucket, self.id)


def canonical(spec: JobSpec) -> PlainDict:
    """Return the part of a spec that determines the computation, as plain data."""
    return spec.model_dump(mode="json", exclude=_NOT_HASHED)


def digest(value: object) -> str:
    """Return the sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def run_id(spec: JobSpec, code_digest: str, stack: str, pool: str, key: str | None) -> str:
    """Return the id of a run. The same input gives the same id on every machine. `key`: the request key, if any."""
    identity = [canonical(spec), code_digest, stack, pool] if key is None else [stack, pool, spec.name, key]
    return f"{spec.name}-{digest(identity)[:12]}"


def difference(old: PlainMapping, new: PlainMapping, prefix: str = "") -> list[Problem]:
    """Compare two canonical specs. Returns a problem for each key that differs."""
    found: list[Problem] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += difference(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(Problem(prefix + key, f"was {json.dumps(before)}, is {json.dumps(after)}"))
    return found


def yard_bucket(url: str) -> str | None:
    """Return the logical bucket name in `yard://<bucket>/<path>`. None for any other URL."""
    return url.removeprefix("yard://").split("/", 1)[0] if url.startswith("yard://") else None


def resolve_url(url: str, target: JobTarget) -> str:
    """Replace `yard://<bucket>` in a URL by the bucket's own URL. Returns any other URL unchanged."""
    bucket = yard_bucket(url)
    if bucket is None:
        return url
    path = url.removeprefix(f"yard://{bucket}").lstrip("/")
    return f"{target.buckets[bucket].rstrip('/')}/{path}".rstrip("/")


def resolved_job(spec: JobSpec, target: JobTarget) -> PlainDict:
    """Return the job document that launch reads: every name resolved, secrets as references."""
    copied = copied_names(spec.data)
    return {
        "name": spec.name,
        "command": spec.command,
        "setup": spec.setup,
        "launcher": spec.launcher,
        "nodes": spec.nodes,
        "nproc_per_node": spec.nproc_per_node or target.slots,
        "env": spec.env,
        "secrets": {variable: target.secrets[logical] for variable, logical in spec.secrets.items()},
        "data": {name: resolve_url(url, target) for name, url in data_urls(spec.data).items()},
        "checkpoint": {"every_s": spec.checkpoint.every, "keep": spec.checkpoint.keep},
        "max_restarts": spec.max_restarts,
        "preflight": spec.preflight,
        "fabric": target.fabric.model_dump(mode="json") if target.fabric else None,
        **({"copied_data": copied} if copied else {}),
    }


def cost_usd(target: JobTarget, nodes: int, run_s: float) -> float | None:
    """Return the cost in USD of `nodes` for `run_s` seconds at the target's price. None if the price is unknown."""
    price = target.price.usd_per_node_hour
    return None if price is None else price * nodes * run_s / 3600


def time_limit(spec: JobSpec, target: JobTarget, used_s: float, used_usd: float) -> tuple[int, str]:
    """Return how many seconds the next attempt may run, and which limit that is: `timeout` or `cost`.

    Raises UsageError when a cost limit is set and the price is unknown.
    """
    remaining_s, affordable = math.floor(spec.timeout - used_s), _affordable_s(spec, target, used_usd)
    if affordable is None or affordable >= remaining_s:
        return remaining_s, "timeout"
    return math.floor(affordable), "cost"


def paid_starts(spec: JobSpec, target: JobTarget, limit_s: int, used_usd: float) -> int | None:
    """Return how many starts of `limit_s` seconds the cost limit pays for, at least 1. None without a cost limit or a price.

    A service that limits each start separately may start the nodes this often. Then the job cannot exceed the cost limit.
    """
    affordable = _affordable_s(spec, target, used_usd)
    return None if affordable is None or math.isinf(affordable) else max(1, int(affordable // max(1, limit_s)))


def _affordable_s(spec: JobSpec, target: JobTarget, used_usd: float) -> float | None:
    """Return the seconds that the cost limit pays for after `used_usd`. None without a limit. Raises UsageError for an unknown price."""
    caps = [cap for cap in (spec.max_cost_usd, target.limits.usd_per_job) if cap is not None]
    if not caps:
        return None
    hourly = cost_usd(target, spec.nodes, 3600)
    if hourly is None:
        fix = "set price_usd_per_hour on the pool"
        raise UsageError("the cost limit cannot be enforced", [Problem("max_cost_usd", "the pool's price is unknown", fix=fix)])
    return (min(caps) - used_usd) / hourly * 3600 if hourly else math.inf
