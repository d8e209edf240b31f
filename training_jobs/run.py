"""Run ids, digests, and the resolved job: pure functions from a spec and a target to plain data."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..problems import Problem, did_you_mean
from .errors import UsageError
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


def run_url(run_bucket: str, run_id: str) -> str:
    """The folder of a run in the run bucket."""
    return f"{run_bucket.rstrip('/')}/gpuyard/runs/{run_id}"


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


def check(spec: JobSpec, target: JobTarget, now: float) -> None:
    """Refuse a job that cannot run on this target at this time (Unix). Raises UsageError with every problem at once."""
    problems = [*_size_problems(spec, target), *_name_problems(spec, target), *_limit_problems(spec, target), *_end_problems(target, now)]
    if problems:
        raise UsageError(f"job '{spec.name}' cannot run on pool '{target.pool}' of {target.stack}", problems)


def _size_problems(spec: JobSpec, target: JobTarget) -> list[Problem]:
    problems = []
    if spec.nodes > target.max_nodes:
        fix = "lower nodes, or raise the pool's max_nodes and run `pulumi up`"
        problems.append(Problem("nodes", "more than the pool has", str(spec.nodes), f"1..{target.max_nodes}", fix))
    if spec.nproc_per_node is not None and spec.nproc_per_node > target.slots:
        what = "more than one per GPU" if target.gpus_per_node else "more than the node has CPU slots"
        problems.append(Problem("nproc_per_node", what, str(spec.nproc_per_node), f"1..{target.slots}"))
    if spec.gpus is not None:
        problems += _gpu_problems(spec.gpus, target)
    return problems


def _gpu_problems(gpus: str, target: JobTarget) -> list[Problem]:
    model, _, count = gpus.rpartition(":")
    has = f"{target.accelerator}:{target.gpus_per_node}" if target.accelerator else "no GPUs"
    wrong_model = bool(model) and model.lower() != (target.accelerator or "").lower()
    if int(count) != target.gpus_per_node or wrong_model:
        fix = "choose the pool with --pool, or correct gpus (it is only checked)"
        return [Problem("gpus", "not what a node of the pool has", gpus, has, fix)]
    return []


def _name_problems(spec: JobSpec, target: JobTarget) -> list[Problem]:
    problems = []
    for variable, logical in spec.secrets.items():
        if logical not in target.secrets:
            known = ", ".join(sorted(target.secrets)) or "none: add it to the stack's secrets"
            fix = did_you_mean(logical, target.secrets)
            problems.append(Problem(f"secrets.{variable}", "names no secret of the stack (not shown)", allowed=known, fix=fix))
    for name, url in spec.data.items():
        bucket = _yard_bucket(url)
        if bucket is not None and bucket not in target.buckets:
            fix = did_you_mean(bucket, target.buckets)
            problems.append(Problem(f"data.{name}", "the stack has no such bucket", bucket, ", ".join(sorted(target.buckets)), fix))
        elif "://" not in url:
            problems.append(Problem(f"data.{name}", "is no URL", url, "yard://<bucket>/<path>, s3://, gs://, abfs://, file://"))
    return problems


def _limit_problems(spec: JobSpec, target: JobTarget) -> list[Problem]:
    problems = []
    gpus, limits = spec.nodes * target.gpus_per_node, target.limits
    if limits.gpus is not None and gpus > limits.gpus:
        problems.append(Problem("nodes", "more GPUs than one job of this stack may take", str(gpus), f"<= {limits.gpus}"))
    cap = limits.usd_per_job
    if cap is not None and spec.max_cost_usd is not None and spec.max_cost_usd > cap:
        got, allowed = f"{spec.max_cost_usd:g} USD", f"<= {cap:g} USD (limits.usd_per_job of the stack)"
        problems.append(Problem("max_cost_usd", "above what one job of this stack may cost", got, allowed))
    return problems


def _end_problems(target: JobTarget, now: float) -> list[Problem]:
    """A pool past its end takes no job. One may be longer than what is left: it can be resumed."""
    end = target.available_until
    if end is None or now < datetime.datetime.fromisoformat(end).timestamp():
        return []
    fix = "give the pool a new end (expires, or another capacity block) and run `pulumi up`, or choose another pool"
    return [Problem("pool", "its machines are gone", f"{target.pool}, gone since {end}", fix=fix)]


def _yard_bucket(url: str) -> str | None:
    return url.removeprefix("yard://").split("/", 1)[0] if url.startswith("yard://") else None


def resolve_url(url: str, target: JobTarget) -> str:
    """`yard://<bucket>/<path>` as the bucket's own URL; any other URL as it is."""
    bucket = _yard_bucket(url)
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
