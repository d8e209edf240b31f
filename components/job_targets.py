"""Fields of job targets on every cloud, as plain data: JobTarget v1 (training_jobs/target.py validates it)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..plain_data import PlainDict
from ..problems import Problem
from . import catalogue
from .catalogue import Machine
from .expiry import end_of
from .naming import job_prefix
from .spec import LimitsSpec
from .spec.pool import GpuPoolSpec

__all__ = [
    "JobSettings",
    "TargetData",
    "available_until",
    "common_fields",
    "fabric",
    "machine_fields",
    "merge_targets",
    "price",
    "run_bucket_problems",
    "service_problems",
    "unused_submitter_problems",
]

TargetData = PlainDict
"""A JobTarget v1 as plain data."""


@dataclass(frozen=True)
class JobSettings:
    """Settings that all targets of a job service share."""

    stack: str
    """project/stack."""
    limits: LimitsSpec
    secrets: Mapping[str, str]
    """References to secrets by logical name."""
    image: str | None
    """Default container image of jobs. None: there is no default."""
    shares: Mapping[str, int]
    """Share of each team. Empty: jobs start in the order of submission."""


def common_fields(kind: str, pool: str, settings: JobSettings, run_bucket: str, buckets: Mapping[str, str]) -> TargetData:
    """Return the fields of a target that are the same on every cloud. `buckets`: URL by logical name."""
    return {
        "version": 1,
        "kind": kind,
        "stack": settings.stack,
        "pool": pool,
        "run_bucket": run_bucket,
        "buckets": dict(buckets),
        "limits": settings.limits.model_dump(),
        "secrets": dict(settings.secrets),
        "default_image": settings.image,
    }


def machine_fields(spec: GpuPoolSpec, row: Machine, stack: str, region: str, expires: str | None) -> TargetData:
    """Return the fields of a target that depend on the machine. `local` has none of them."""
    return {
        "machine": row.name,
        "accelerator": row.accelerator,
        "gpus_per_node": row.gpus,
        "nics_per_node": row.fast_nics,
        "min_nodes": spec.min_nodes,
        "max_nodes": spec.max_nodes,
        "fabric": fabric(spec, row),
        "price": price(spec, row, region),
        "region": region,
        "spot": spec.mode == "spot",
        "available_until": available_until(spec, expires),
        "job_prefix": job_prefix(stack),
    }


def fabric(spec: GpuPoolSpec, row: Machine) -> PlainDict | None:
    """Return the network speed that the preflight requires. None: the pool has one node, or machines without fast network cards."""
    if spec.max_nodes == 1 or not row.fast_nics or row.transport is None or not row.fabric_line_gbps:
        return None
    return {"transport": row.transport, "line_rate_gbps": row.fabric_line_gbps, "floor": spec.floor(row)}


def price(spec: GpuPoolSpec, row: Machine, region: str) -> PlainDict:
    """Return the price of a node in USD per hour and its source: the pool's own price or the list price.

    The price is null if none is known; the source then says why.
    """
    if spec.price_usd_per_hour is not None:
        return {"usd_per_node_hour": spec.price_usd_per_hour, "source": "the pool's price_usd_per_hour"}
    rate = row.rate(region, spec.mode, spec.service)
    if rate is None:
        why = f"no price known for {row.name} in {region}, {spec.mode} on {spec.service}: set price_usd_per_hour"
        return {"usd_per_node_hour": None, "source": why}
    source = catalogue.table(row.cloud).sources[rate.source]
    return {"usd_per_node_hour": rate.usd_per_hour, "source": f"{source.what} ({source.date or 'not dated'})"}


def available_until(spec: GpuPoolSpec, expires: str | None) -> str | None:
    """Return the UTC time at which the pool goes to zero nodes; None if it never does.

    >>> from gpuyard.components.spec.pool import GpuPoolSpec
    >>> available_until(GpuPoolSpec(service="batch", machine="p5.48xlarge", zone="us-east-1a", max_nodes=1), "2027-03-31")
    '2027-03-31T00:00:00Z'
    """
    end = end_of(spec, expires)
    return f"{end.at:%Y-%m-%dT%H:%M:%SZ}" if end else None


def service_problems(
    pools: Sequence[str], jobless: Sequence[str], writes: Sequence[str], reads: Sequence[str], submitters: Sequence[str]
) -> list[Problem]:
    """Return the problems between the inputs of a job service. All arguments are names. `jobless`: the pools that take no jobs."""
    problems = run_bucket_problems(writes) + _duplicates("pools", pools) + _duplicates("reads and writes", [*reads, *writes])
    if not pools:
        problems.append(Problem("pools", "no pool", "none", "one or more", "add a GpuPool"))
    return problems + unused_submitter_problems(pools, jobless, submitters)


def unused_submitter_problems(pools: Sequence[str], jobless: Sequence[str], submitters: Sequence[str]) -> list[Problem]:
    """Return a problem if there are submitters but no pool that takes jobs."""
    if not submitters or not pools or len(jobless) < len(pools):
        return []
    fix = "remove submitters, or give a pool a service that takes jobs"
    return [Problem("submitters", "no pool takes jobs", ", ".join(submitters), "no submitters if every pool has `service: vms`", fix)]


def merge_targets(pools: Sequence[str], parts: Sequence[Mapping[str, TargetData]]) -> dict[str, TargetData]:
    """Merge the targets of all services, in the order of the pools."""
    found = {name: target for part in parts for name, target in part.items()}
    return {name: found[name] for name in pools if name in found}


def run_bucket_problems(writes: Sequence[str]) -> list[Problem]:
    """Return a problem unless jobs write exactly one bucket."""
    if len(writes) == 1:
        return []
    allowed = "exactly one bucket, the run bucket"
    fix = "keep one bucket and move the others to reads" if writes else "add a Bucket"
    return [Problem("writes", "not one bucket", ", ".join(writes) or "none", allowed, fix)]


def _duplicates(key: str, names: Sequence[str]) -> list[Problem]:
    again = sorted(name for name, count in Counter(names).items() if count > 1)
    if not again:
        return []
    return [
        Problem(key, "a name occurs more than once", ", ".join(again), "each name once", "rename one, because job targets use the names")
    ]
