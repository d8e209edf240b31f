"""Job targets of pools on Vertex AI as plain data: JobTarget v1 of kind vertex, which training_jobs/target.py validates. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..job_targets import JobSettings, common_fields, machine_fields
from ..spec.capacity import FlexStart, Reservation
from ..spec.pool import GpuPoolSpec
from .machines import family
from .project import ProjectRegion
from .vertex_pool import vertex_disk

__all__ = ["TargetContext", "vertex_target"]

_STRATEGIES = {"spot": "spot", "flex_start": "flex_start"}


@dataclass(frozen=True)
class TargetContext:
    """Values that all targets of a yard share."""

    project_region: ProjectRegion
    settings: JobSettings
    run_bucket: str
    buckets: Mapping[str, str]
    key_id: str | None


def vertex_target(
    name: str,
    spec: GpuPoolSpec,
    expires: str | None,
    context: TargetContext,
    *,
    region: str,
    service_account: str,
    network_attachment: str | None,
    persistent_resource: str | None,
    pool_key: str | None,
    log_view: str | None,
) -> dict[str, object]:
    """Return the job target of a `vertex` pool.

    A job on a persistent resource must name the resource's own key, or no key if the resource has none.
    cloud.google.com/vertex-ai/docs/general/cmek (2026-12-01)
    """
    row = spec.row("gcp")
    return {
        **common_fields("vertex", name, context.settings, context.run_bucket, context.buckets),
        **machine_fields(spec, row, context.settings.stack, region, expires),
        "encryption_key": pool_key if persistent_resource else context.key_id,
        "project": context.project_region.project,
        "accelerator_type": family(row).accelerator,
        "strategy": _STRATEGIES.get(spec.mode, "standard"),
        "reservation": spec.capacity.reservation if isinstance(spec.capacity, Reservation) else None,
        "persistent_resource": persistent_resource,
        "service_account": service_account,
        "network_attachment": network_attachment,
        "log_view": log_view,
        "web_access": spec.web_access,
        "max_hours": spec.capacity.max_hours if isinstance(spec.capacity, FlexStart) else None,
        "boot_disk_gib": spec.root_disk_gib,
        "boot_disk_type": vertex_disk(row),
    }
