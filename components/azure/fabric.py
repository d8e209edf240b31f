"""Rules for InfiniBand between the machines of a scale set: placement arguments and checks of the pool. Pure functions."""

from __future__ import annotations

from typing import Any, Literal

from ...plain_data import PlainDict, PlainMapping
from ...problems import Problem, show
from .. import catalogue
from ..catalogue import Machine

__all__ = ["PLACEMENT_GROUP", "Orchestration", "fabric_problems", "has_trusted_launch", "placement_arguments", "rdma_twin"]

Orchestration = Literal["uniform", "flexible"]
PLACEMENT_GROUP = 100
"""Maximum number of machines in one placement group: learn.microsoft.com/azure/virtual-machine-scale-sets/ (placement groups)."""

_UNTRUSTED = ("_A100_v4", "asr_v4")  # ND A100: learn.microsoft.com/azure/virtual-machines/trusted-launch


def has_trusted_launch(row: Machine) -> bool:
    """Return whether the yard starts machines of this size with Trusted Launch."""
    return row.architecture == "x86_64" and not (row.name.startswith("Standard_ND") and row.name.endswith(_UNTRUSTED))


def placement_arguments(row: Machine, orchestration: Orchestration) -> PlainDict:
    """Return the placement arguments of a scale set.

    InfiniBand connects only machines of one placement group. Spreading over fault domains would put machines into other groups, and
    overprovisioning costs money, so both are off. Pools without InfiniBand may span groups, and Azure requires that with a reservation:
    learn.microsoft.com/azure/virtual-machines/capacity-reservation-associate-virtual-machine-scale-set
    """
    if orchestration == "flexible":
        return {"orchestration_mode": "Flexible", "platform_fault_domain_count": 1}
    return {
        "orchestration_mode": "Uniform",
        "single_placement_group": row.fast_nics > 0,
        "platform_fault_domain_count": 1,
        "overprovision": False,
        "upgrade_policy": {"mode": "Manual"},  # a changed model applies to new machines only; running machines do not change
    }


def fabric_problems(row: Machine, max_nodes: int, orchestration: Any, given: PlainMapping) -> list[Problem]:
    """Return the problems of a pool whose machines could not use InfiniBand together. `given`: the spec as the user wrote it."""
    problems = []
    if orchestration not in ("uniform", "flexible"):
        problems.append(Problem("orchestration", "unknown mode", show(orchestration), "uniform or flexible"))
    if row.fast_nics and orchestration == "flexible":
        problems.append(Problem("orchestration", "InfiniBand needs one uniform scale set", "'flexible'", f"uniform for {row.name}"))
    if given.get("service") == "vms" and row.fast_nics and max_nodes > PLACEMENT_GROUP:
        what, allowed = "InfiniBand does not cross placement groups", f"1 to {PLACEMENT_GROUP} for {row.name}"
        problems.append(Problem("max_nodes", what, str(max_nodes), allowed, "declare several pools"))
    twin = rdma_twin(row)
    if max_nodes > 1 and twin:
        what = "a size without the letter r has no InfiniBand, so several nodes would train over Ethernet"
        problems.append(Problem("machine", what, show(row.name), f"{twin} for several nodes", "change machine, or set max_nodes: 1"))
    elif max_nodes > 1 and not row.fast_nics and given.get("fabric_floor") is not None:
        fix = "remove fabric_floor, or use a size with the letter r, such as Standard_ND96isr_H100_v5"
        problems.append(Problem("fabric_floor", f"{row.name} has no InfiniBand", show(given["fabric_floor"]), fix=fix))
    return problems


def rdma_twin(row: Machine) -> str | None:
    """Return the InfiniBand variant of a size without InfiniBand. None: the catalogue has no such size.

    >>> rdma_twin(catalogue.machine("Standard_ND96is_H100_v5"))
    'Standard_ND96isr_H100_v5'
    """
    if row.fast_nics:
        return None
    head, _, tail = row.name.partition("s_")
    twin = f"{head}sr_{tail}"
    return twin if twin in catalogue.table("azure").machines else None
