"""Run ids, digests, and the resolved job: pure functions from a spec and a target to plain data."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..problems import Problem
from .errors import UsageError
from .run_layout import run_url
from .spec import JobSpec, Retries
from .target import JobTarget

# Keys that change how patiently or how dearly a job is run, not what it computes; `pool` is the target's,
# and `code` is a path whose content has a digest of its own.
_NOT_HASHED = {"timeout", "queue_timeout", "max_cost_usd", "retries", "max_restarts", "labels", "pool", "code"}


@dataclass(frozen=True)
class Code:
    """The code of a run: `digest` of what the user can change, `url` of the tarball that carries it."""

    digest: str
    url: str


@dataclass(frozen=True)
class Run:
    """One submission of a run, as a backend needs it."""

    id: str
    submission: int
    attempt: int
    spec: JobSpec
    target: JobTarget
    code: Code
    limit_s: int
    limit_reason: str
    retries_left: Retries | None = None  # of the allowance, when this submission begins; None = all of it

    @property
    def retries(self) -> Retries:
        """What a service may spend by itself."""
        return self.spec.retries if self.retries_left is None else self.retries_left

    @property
    def name(self) -> str:
        """The deterministic name of this submission at the service."""
        return f"{self.id}.{self.submission}"

    @property
    def url(self) -> str:
        """Where the run keeps its record, checkpoints and output."""
        return run_url(self.target.run_bucket, self.id)


def canonical(spec: JobSpec) -> dict[str, Any]:
    """The part of a spec that decides what is computed."""
    return spec.model_dump(mode="json", exclude=_NOT_HASHED)


def digest(value: object) -> str:
    """sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def run_id(spec: JobSpec, code_digest: str, stack: str, pool: str, key: str | None) -> str:
    """The id of a logical job: the same input gives the same id, everywhere and always."""
    identity = [canonical(spec), code_digest, stack, pool] if key is None else [stack, pool, spec.name, key]
    return f"{spec.name}-{digest(identity)[:12]}"


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[Problem]:
    """Where two canonical specs differ, key by key."""
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
    """`yard://<bucket>/<path>` as the bucket's own URL; any other URL as it is."""
    bucket = yard_bucket(url)
    if bucket is None:
        return url
    path = url.removeprefix(f"yard://{bucket}").lstrip("/")
    return f"{target.buckets[bucket].rstrip('/')}/{path}".rstrip("/")


def resolved_job(spec: JobSpec, target: JobTarget) -> dict[str, Any]:
    """The document that launch works from: everything looked up, references instead of secrets."""
    return {
        "name": spec.name,
        "command": spec.command,
        "setup": spec.setup,
        "launcher": spec.launcher,
        "nodes": spec.nodes,
        "nproc_per_node": spec.nproc_per_node or target.slots,
        "env": spec.env,
        "secrets": {variable: target.secrets[logical] for variable, logical in spec.secrets.items()},
        "data": {name: resolve_url(url, target) for name, url in spec.data.items()},
        "checkpoint": {"every_s": spec.checkpoint.every, "keep": spec.checkpoint.keep},
        "max_restarts": spec.max_restarts,
        "preflight": spec.preflight,
        "fabric": target.fabric.model_dump(mode="json") if target.fabric else None,
    }


def cost_usd(target: JobTarget, nodes: int, run_s: float) -> float | None:
    """What node-seconds cost at the target's price; None where the price is unknown."""
    price = target.price.usd_per_node_hour
    return None if price is None else price * nodes * run_s / 3600


def time_limit(spec: JobSpec, target: JobTarget, used_s: float, used_usd: float) -> tuple[int, str]:
    """Seconds this attempt may still run, and the reason if it is cut there: `timeout` or `cost`.

    Raises UsageError where a cost limit is set and the price is unknown.
    """
    left = math.floor(spec.timeout - used_s)
    caps = [cap for cap in (spec.max_cost_usd, target.limits.usd_per_job) if cap is not None]
    if not caps:
        return left, "timeout"
    hourly = cost_usd(target, spec.nodes, 3600)
    if hourly is None:
        fix = "set price_usd_per_hour on the pool"
        raise UsageError("the cost limit cannot be kept", [Problem("max_cost_usd", "the price is unknown", fix=fix)])
    affordable = math.floor((min(caps) - used_usd) / hourly * 3600) if hourly else left
    return (affordable, "cost") if affordable < left else (left, "timeout")
