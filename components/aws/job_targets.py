"""Job targets of AWS pools, as plain data: JobTarget v1 of kind batch and sagemaker (training_jobs/target.py validates it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...plain_data import PlainDict
from .. import catalogue
from ..job_targets import JobSettings, common_fields, machine_fields
from ..spec.pool import GpuPoolSpec
from .permissions import TRAINING_JOBS
from .policy import ArnScope

__all__ = ["TargetContext", "batch_target", "reservable_mib", "sagemaker_target", "sagemaker_type"]

_HOST_SHARE = 0.06
"""Share of a machine's memory that jobs cannot reserve. Linux uses 1/64 for page tables, the ECS agent 32 MiB, firmware and kernel some
more. ECS registers the rest, and Batch never starts a job that requests more. The observed share is 2 to 4 %; 6 % is a safe estimate
(docs.aws.amazon.com/batch/latest/userguide/memory-management.html)."""


@dataclass(frozen=True)
class TargetContext:
    """The values that all targets of a yard share, once they are known."""

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
    """Return the target of a `batch` pool."""
    row = spec.row("aws")
    return {
        **_common("batch", name, spec, row, expires, context),
        "job_queue": queue,
        "job_role": job_role,
        "execution_role": execution_role,
        "log_group": log_group,
        "vcpus": row.vcpus,
        "memory_mib": reservable_mib(row.memory_gib),
        "teams": sorted(context.settings.shares),
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
    """Return the target of a `sagemaker` pool."""
    row = spec.row("aws")
    return {
        **_common("sagemaker", name, spec, row, expires, context),
        "instance_type": sagemaker_type(spec),
        "role": role,
        "subnet_ids": sorted(subnet_ids),
        "security_group_ids": [security_group_id],
        "log_group": TRAINING_JOBS,
        "model_package_group": model_package_group,
        "keep_alive_s": spec.keep_alive_minutes * 60,
        "network_isolation": spec.network_isolation,
        "encrypt_between_nodes": _encrypts(spec, row),
    }


def sagemaker_type(spec: GpuPoolSpec) -> str:
    """Return SageMaker's name for a pool's machine type."""
    return f"ml.{spec.row('aws').name}"


def _encrypts(spec: GpuPoolSpec, row: catalogue.Machine) -> bool:
    """Return whether SageMaker encrypts the traffic between nodes: by default only on machines without EFA.

    SageMaker uses IPsec (UDP 500 and ESP: docs.aws.amazon.com/sagemaker/latest/dg/train-encrypt.html, read on 2026-12-01), which encrypts
    IP packets. EFA's traffic bypasses the kernel and is not encrypted, so IPsec would only slow the other traffic.
    """
    return not row.fast_nics if spec.encrypt_between_nodes is None else spec.encrypt_between_nodes


def reservable_mib(memory_gib: float) -> int:
    """Return the memory that a job can reserve on a machine, in MiB.

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
