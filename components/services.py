"""What each job service takes: one row each. A rule that needs a cloud's own words is in that cloud's folder."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Mode = Literal["on_demand", "spot", "reservation", "capacity_block"]


class Service(NamedTuple):
    """One job service."""

    clouds: tuple[str, ...]
    zone: Literal["required", "optional", "refused"]
    """Required where the yard holds the machines; where the service holds them it only picks the subnet."""
    modes: tuple[Mode, ...]
    """How machines can be bought."""
    multi_node_modes: tuple[Mode, ...]
    """How they can be bought where a job takes several nodes."""
    takes_jobs: bool = True
    """Whether `gpuyard submit` can send jobs there."""


SERVICES: Mapping[str, Service] = MappingProxyType(
    {
        "local": Service(("local",), "refused", ("on_demand",), ("on_demand",)),
        # Batch: no multi-node job on spot (docs.aws.amazon.com/batch/latest/userguide/mnp-ce.html)
        "batch": Service(
            ("aws",), "required", ("on_demand", "spot", "reservation", "capacity_block"), ("on_demand", "reservation", "capacity_block")
        ),
        # SageMaker: holds its own ml.* machines; EC2 reservations do not reach it
        "sagemaker": Service(("aws",), "optional", ("on_demand", "spot"), ("on_demand", "spot")),
        "vms": Service(
            ("aws",),
            "required",
            ("on_demand", "spot", "reservation", "capacity_block"),
            ("on_demand", "spot", "reservation", "capacity_block"),
            takes_jobs=False,
        ),
    }
)


def alternatives(service: str, mode: Mode) -> list[str]:
    """The services of the same clouds that run multi-node jobs on machines bought this way; those that take jobs come first."""
    clouds = set(SERVICES[service].clouds)
    able = [name for name, row in SERVICES.items() if clouds & set(row.clouds) and mode in row.multi_node_modes]
    return sorted(able, key=lambda name: not SERVICES[name].takes_jobs)


def services_of(cloud: str) -> list[str]:
    """The services of a cloud."""
    return [name for name, row in SERVICES.items() if cloud in row.clouds]
