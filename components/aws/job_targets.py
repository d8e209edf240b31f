"""Job targets of AWS pools, as plain data: JobTarget v1 of kind batch and sagemaker (training_jobs/target.py validates it). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import catalogue
from ..naming import job_prefix
from ..pool_spec import GpuPoolSpec
from ..targets import Given, shared
from .end import end_of
from .permissions import TRAINING_JOBS
from .policy import Place

_HOST_SHARE = 0.06
"""Of a machine's memory, what jobs cannot reserve. Linux keeps 1/64 for page tables, ECS 32 MiB, firmware and kernel some more; what is
left registers with the cluster, and a job that asks for more waits for ever. Figures seen are 2 to 4 %, so this leaves room: a guess,
on the safe side (docs.aws.amazon.com/batch/latest/userguide/memory-management.html)."""


@dataclass(frozen=True)
class Yard:
    """What all targets of a yard share, once it is known."""

    place: Place
    given: Given
    run_bucket: str
    buckets: Mapping[str, str]
    key_arn: str | None


def batch_target(
    name: str, spec: GpuPoolSpec, expires: str | None, yard: Yard, *, queue: str, job_role: str, execution_role: str, log_group: str
) -> dict[str, Any]:
    """The target of a pool behind a Batch queue."""
    row = spec.row("aws")
    return {
        **_common("batch", name, spec, row, expires, yard),
        "job_queue": queue,
        "job_role": job_role,
        "execution_role": execution_role,
        "log_group": log_group,
        "vcpus": row.vcpus,
        "memory_mib": reservable_mib(row.memory_gib),
    }


def sagemaker_target(
    name: str,
    spec: GpuPoolSpec,
    expires: str | None,
    yard: Yard,
    *,
    role: str,
    subnet_ids: list[str],
    security_group_id: str,
    model_package_group: str,
) -> dict[str, Any]:
    """The target of a pool whose machines SageMaker holds."""
    row = spec.row("aws")
    return {
        **_common("sagemaker", name, spec, row, expires, yard),
        "instance_type": f"ml.{row.name}",
        "role": role,
        "subnet_ids": sorted(subnet_ids),
        "security_group_ids": [security_group_id],
        "log_group": TRAINING_JOBS,
        "model_package_group": model_package_group,
    }


def reservable_mib(memory_gib: float) -> int:
    """The memory a job may reserve on a machine, in MiB.

    >>> reservable_mib(192)
    184811
    """
    return int(memory_gib * 1024 * (1 - _HOST_SHARE))


def fabric(spec: GpuPoolSpec, row: catalogue.Machine) -> dict[str, Any] | None:
    """What the preflight holds the network between nodes to; None: one node, or no fast cards, so nothing to hold."""
    if spec.max_nodes == 1 or not row.fast_nics or row.transport is None or not row.network_gbps:
        return None
    return {"transport": row.transport, "line_rate_gbps": row.network_gbps, "floor": spec.fabric_floor}


def price(spec: GpuPoolSpec, row: catalogue.Machine, region: str) -> dict[str, Any]:
    """USD of one node and hour with its source: the stack's own rate, else the list price; else null with the reason."""
    if spec.price_usd_per_hour is not None:
        return {"usd_per_node_hour": spec.price_usd_per_hour, "source": "the stack's own rate: price_usd_per_hour"}
    rate = row.rate(region, spec.mode, spec.service)
    if rate is None:
        why = f"no price known for {row.name} in {region}, {spec.mode} on {spec.service}: set price_usd_per_hour"
        return {"usd_per_node_hour": None, "source": why}
    source = catalogue.table("aws").sources[rate.source]
    return {"usd_per_node_hour": rate.usd_per_hour, "source": f"{source.what} ({source.date or 'not dated'})"}


def available_until(spec: GpuPoolSpec, expires: str | None) -> str | None:
    """UTC time at which the machines go, as end.py says; None: no end.

    >>> from components.pool_spec import GpuPoolSpec
    >>> available_until(GpuPoolSpec(service="batch", machine="p5.48xlarge", zone="us-east-1a", max_nodes=1), "2027-03-31")
    '2027-03-31T00:00:00Z'
    """
    end = end_of(spec, expires)
    return f"{end.at:%Y-%m-%dT%H:%M:%SZ}" if end else None


def _common(kind: str, name: str, spec: GpuPoolSpec, row: catalogue.Machine, expires: str | None, yard: Yard) -> dict[str, Any]:
    return {
        **shared(kind, name, yard.given, yard.run_bucket, yard.buckets),
        "machine": row.name,
        "accelerator": row.accelerator,
        "gpus_per_node": row.gpus,
        "nics_per_node": row.fast_nics,
        "min_nodes": spec.min_nodes,
        "max_nodes": spec.max_nodes,
        "fabric": fabric(spec, row),
        "price": price(spec, row, yard.place.region),
        "region": yard.place.region,
        "account_id": yard.place.account,
        "spot": spec.mode == "spot",
        "available_until": available_until(spec, expires),
        "encryption_key": yard.key_arn,
        "job_prefix": job_prefix(yard.given.stack),
    }
