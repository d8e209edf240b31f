"""Job targets of AWS pools, as plain data: JobTarget v1 of kind batch and sagemaker (training_jobs/target.py validates it). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...plain_data import PlainDict
from .. import catalogue
from ..job_targets import JobSettings, common_fields, machine_fields
from ..spec.pool import GpuPoolSpec
from .permissions import TRAINING_JOBS
from .policy import ArnScope

__all__ = ["TargetContext", "batch_target", "reservable_mib", "sagemaker_target"]

_HOST_SHARE = 0.06
"""Of a machine's memory, what jobs cannot reserve. Linux keeps 1/64 for page tables, ECS 32 MiB, firmware and kernel some more; what is
left registers with the cluster, and a job that asks for more waits for ever. Figures seen are 2 to 4 %, so this leaves room: a guess,
on the safe side (docs.aws.amazon.com/batch/latest/userguide/memory-management.html)."""


@dataclass(frozen=True)
class TargetContext:
    """What all targets of a yard share, once it is known."""

    scope: ArnScope
    settings: JobSettings
    run_bucket: str
    buckets: Mapping[str, str]
    key_arn: str | None


def batch_target(
    name: str,
    spec: GpuPoolSpec,
    expires: str | None,
    context: TargetContext,
    *,
    queue: str,
    job_role: str,
    execution_role: str,
    log_group: str,
) -> PlainDict:
    """The target of a pool behind a Batch queue."""
    row = spec.row("aws")
    return {
        **_common("batch", name, spec, row, expires, context),
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
    context: TargetContext,
    *,
    role: str,
    subnet_ids: list[str],
    security_group_id: str,
    model_package_group: str,
) -> PlainDict:
    """The target of a pool whose machines SageMaker holds."""
    row = spec.row("aws")
    return {
        **_common("sagemaker", name, spec, row, expires, context),
        "instance_type": f"ml.{row.name}",
        "role": role,
        "subnet_ids": sorted(subnet_ids),
        "security_group_ids": [security_group_id],
        "log_group": TRAINING_JOBS,
        "model_package_group": model_package_group,
        "keep_alive_s": spec.keep_alive_minutes * 60,
        "network_isolation": spec.network_isolation,
    }


def reservable_mib(memory_gib: float) -> int:
    """The memory a job may reserve on a machine, in MiB.

    >>> reservable_mib(192)
    184811
    """
    return int(memory_gib * 1024 * (1 - _HOST_SHARE))


def _common(kind: str, name: str, spec: GpuPoolSpec, row: catalogue.Machine, expires: str | None, context: TargetContext) -> PlainDict:
    return {
        **common_fields(kind, name, context.settings, context.run_bucket, context.buckets),
        **machine_fields(spec, row, context.settings.stack, context.scope.region, expires),
        "account_id": context.scope.account,
        "encryption_key": context.key_arn,
    }
