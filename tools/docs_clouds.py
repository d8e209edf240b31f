"""Facts of each cloud for the generated pages, one row per cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gpuyard.components.azure.pool_rules import pool_problems as azure_problems
from gpuyard.components.catalogue.services import Mode
from gpuyard.components.gcp.pool_rules import pool_problems as gcp_problems
from gpuyard.problems import Problem

__all__ = ["CLOUDS", "CloudPage"]

_AWS_RESERVATION = "cr-0123456789abcdef0"
_GCP_RESERVATION = "projects/acme/zones/us-central1-a/reservations/gpus"
_AZURE_RESERVATION = "/subscriptions/SUB/resourceGroups/GPUS/providers/Microsoft.Compute/capacityReservationGroups/NAME"


class CloudPage(NamedTuple):
    """One cloud."""

    title: str
    zone: str
    fast_card: str
    capacity: Mapping[Mode, Any]
    """Every capacity mode that a service of the cloud accepts, as a stack file has it."""
    prices: str
    quota_title: str
    quotas: str
    also: Callable[[Mapping[str, Any]], list[Problem]]
    """Function that returns the problems that only the cloud's own rules find in a pool."""


def _azure(spec: Mapping[str, Any]) -> list[Problem]:
    return azure_problems(spec, "net", ["1"], None)


def _gcp(spec: Mapping[str, Any]) -> list[Problem]:
    return gcp_problems(spec, "net", ["us-central1-a"], None)


CLOUDS: Mapping[str, CloudPage] = {
    "aws": CloudPage(
        title="AWS",
        zone="us-east-1a",
        fast_card="EFA",
        capacity={
            "on_demand": "on_demand",
            "spot": "spot",
            "reservation": {"mode": "reservation", "reservation": _AWS_RESERVATION},
            "capacity_block": {"mode": "capacity_block", "reservation": _AWS_RESERVATION, "ends": "2026-12-19T11:30:00Z"},
        },
        prices="Spot prices change by the hour and are not in the table. A plan uses the on-demand price as their upper bound. "
        "A capacity block\nis paid in advance, at the price of its offer. SageMaker has its own rates, "
        "which no source here states: set yours with\n`price_usd_per_hour`.",
        quota_title="Quota of EC2, per region",
        quotas="A reservation uses the on-demand quota. A capacity block includes its quota. SageMaker counts nodes by type, apart\n"
        "from EC2: `ml.MACHINE for training job usage` and `ml.MACHINE for spot training job usage`.",
        also=lambda spec: [],
    ),
    "azure": CloudPage(
        title="Azure",
        zone="1",
        fast_card="InfiniBand",
        capacity={
            "on_demand": "on_demand",
            "spot": "spot",
            "reservation": {"mode": "reservation", "reservation": _AZURE_RESERVATION},
        },
        prices="Spot prices are not in the table. A plan uses the on-demand price as their upper bound. A cluster of Azure ML costs what\n"
        "its machines cost. Regions that are not listed cost 20 to 30 percent more; no source states exact figures, so set yours with\n"
        "`price_usd_per_hour`.",
        quota_title="Quota of virtual machines, per region",
        quotas="A reservation uses the on-demand quota. Azure ML has its own quota: dedicated vCPUs by family, low-priority vCPUs of all\n"
        "families together. Total regional vCPUs limit the sum of all families.",
        also=_azure,
    ),
    "gcp": CloudPage(
        title="GCP",
        zone="us-central1-a",
        fast_card="fast NIC",
        capacity={
            "on_demand": "on_demand",
            "spot": "spot",
            "reservation": {"mode": "reservation", "reservation": _GCP_RESERVATION},
            "flex_start": {"mode": "flex_start", "max_hours": 24},
        },
        prices="Spot prices change up to once a day, and flex-start rates are separate SKUs. Neither is in the table. A plan uses the\n"
        "on-demand price as their upper bound, also for machines that are not sold on demand. Vertex AI has its own rates: set yours with\n"
        "`price_usd_per_hour`.",
        quota_title="Quota of Compute Engine, per region",
        quotas="`GPUS-ALL-REGIONS-per-project` must also cover all GPUs of the project. Spot and flex start use the preemptible quota. A\n"
        "reservation used its quota when it was created. Vertex AI has its own quota, `custom_model_training_nvidia_..._gpus`, and\n"
        "another one for preemptible GPUs.",
        also=_gcp,
    ),
}
