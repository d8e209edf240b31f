"""What the generated pages say differently for each cloud: a row for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gpuyard.components.azure.pool_rules import pool_problems as azure_problems
from gpuyard.components.catalogue.services import Mode
from gpuyard.components.gcp.pool_rules import pool_problems as gcp_problems

_AWS_RESERVATION = "cr-0123456789abcdef0"
_GCP_RESERVATION = "projects/acme/zones/us-central1-a/reservations/gpus"
_AZURE_RESERVATION = "/subscriptions/SUB/resourceGroups/GPUS/providers/Microsoft.Compute/capacityReservationGroups/NAME"


class CloudPage(NamedTuple):
    """One cloud."""

    title: str
    zone: str
    fast_card: str
    capacity: Mapping[Mode, Any]
    """Every way to buy that some service of it takes, as it is written in a stack file."""
    prices: str
    quota_title: str
    quotas: str
    also: Callable[[Mapping[str, Any]], list[str]]
    """What the cloud itself refuses of a pool, besides its spec."""


def _azure(spec: Mapping[str, Any]) -> list[str]:
    return azure_problems(spec, "net", ["1"], None)


def _gcp(spec: Mapping[str, Any]) -> list[str]:
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
        prices="Spot prices change by the hour and are in no table: a plan bounds them by on demand. "
        "A capacity block is paid in advance, at\nthe price of its offer. SageMaker has rates of its own, "
        "which no source here states: say yours with `price_usd_per_hour`.",
        quota_title="Quota of EC2, per region",
        quotas="A reservation takes the on-demand quota, a capacity block brings its own. SageMaker counts nodes by type, apart from EC2:\n"
        "`ml.MACHINE for training job usage` and `ml.MACHINE for spot training job usage`.",
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
        prices="Spot prices are in no table: a plan bounds them by on demand. A cluster of Azure ML costs what its machines cost.\n"
        "Regions that are not listed are dearer by 20 to 30 percent, too roughly known to be figures: say yours with `price_usd_per_hour`.",
        quota_title="Quota of virtual machines, per region",
        quotas="A reservation takes the on-demand quota. Azure ML counts apart from this: dedicated vCPUs by family, low-priority\n"
        "ones of all families together. Total regional vCPUs bound the sum of all families.",
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
        prices="Spot prices change up to once a day and flex-start rates are SKUs of their own: neither is here, and a plan bounds both\n"
        "by on demand, also where the machine itself is not had so. Vertex AI has rates of its own: say yours with `price_usd_per_hour`.",
        quota_title="Quota of Compute Engine, per region",
        quotas="Besides, `GPUS-ALL-REGIONS-per-project` must cover all GPUs of the project. Spot and flex-start take preemptible quota; a\n"
        "reservation was charged when it was made. Vertex AI counts apart:\n"
        "`custom_model_training_nvidia_..._gpus`, preemptible ones apart again.",
        also=_gcp,
    ),
}
