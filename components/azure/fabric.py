"""InfiniBand's truth table: how machines must be set up for their fast cards to reach each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from .. import catalogue
from ..catalogue import Machine

Orchestration = Literal["uniform", "flexible"]
PLACEMENT_GROUP = 100
"""Machines of one placement group at most: learn.microsoft.com/azure/virtual-machine-scale-sets/ (placement groups)."""


def arrangement(row: Machine, orchestration: Orchestration, *, reserved: bool = False) -> dict[str, Any]:
    """What a scale set says of where its machines are.

    InfiniBand partitions are per placement group, and machines that Azure spreads over fault domains or makes in excess land in other
    ones, or are billed for nothing: so one group, one fault domain, none in excess. Without InfiniBand a pool may span groups, and with a
    reservation Azure wants it to:
    learn.microsoft.com/azure/virtual-machines/capacity-reservation-associate-virtual-machine-scale-set
    """
    if orchestration == "flexible":
        return {"orchestration_mode": "Flexible", "platform_fault_domain_count": 1}
    return {
        "orchestration_mode": "Uniform",
        "single_placement_group": row.fast_nics > 0 and not reserved,
        "platform_fault_domain_count": 1,
        "overprovision": False,
        "upgrade_policy": {"mode": "Manual"},  # a new model is for new machines: those that work are left alone
    }


def fabric_problems(row: Machine, max_nodes: int, orchestration: Any, given: Mapping[str, Any]) -> list[str]:
    """What would leave a pool of several machines without the fabric that it needs, a line each. `given`: the spec as it was written."""
    problems = []
    if orchestration not in ("uniform", "flexible"):
        problems.append(f"orchestration: got {orchestration!r}, allowed: uniform or flexible; use one of them")
    if row.fast_nics and orchestration == "flexible":
        problems.append(f"orchestration: got 'flexible', allowed: uniform for {row.name}: only one uniform scale set has InfiniBand")
    if given.get("service") == "vms" and row.fast_nics and max_nodes > PLACEMENT_GROUP:
        problems.append(
            f"max_nodes: got {max_nodes}, allowed: 1 to {PLACEMENT_GROUP} for {row.name}: InfiniBand ends where a placement group ends; "
            "make several pools"
        )
    if row.fast_nics and max_nodes > 1 and _reserved(given.get("capacity")):
        problems.append(
            f"capacity: got a reservation, allowed: on_demand or spot for more than one node of {row.name}: Azure's reservations take "
            "scale sets without one placement group, where InfiniBand ends; or max_nodes: 1"
        )
    twin = rdma_twin(row)
    if max_nodes > 1 and twin:
        problems.append(
            f"machine: got {row.name!r}, allowed: {twin} for more than one node: without the letter r there is no InfiniBand, nodes "
            "would train over Ethernet; or max_nodes: 1"
        )
    elif max_nodes > 1 and not row.fast_nics and given.get("fabric_floor") is not None:
        problems.append(
            f"fabric_floor: got {given['fabric_floor']!r}, allowed: nothing for {row.name}, which has no fast fabric; remove it, "
            "or take a size with the letter r, such as Standard_ND96isr_H100_v5"
        )
    return problems


def _reserved(capacity: Any) -> bool:
    mode = capacity.get("mode") if isinstance(capacity, Mapping) else getattr(capacity, "mode", None)
    return bool(mode == "reservation")


def rdma_twin(row: Machine) -> str | None:
    """The same size with InfiniBand, where this one is without and the catalogue knows the other.

    >>> rdma_twin(catalogue.machine("Standard_ND96is_H100_v5"))
    'Standard_ND96isr_H100_v5'
    """
    if row.fast_nics:
        return None
    head, _, tail = row.name.partition("s_")
    twin = f"{head}sr_{tail}"
    return twin if twin in catalogue.table("azure").machines else None
