"""The quotas that the account needs before the pools can fill, and the network fabric of the nodes."""

from __future__ import annotations

from ..catalogue import Machine, table
from .clouds import CLOUDS
from .document import Fabric, Need
from .yard import RecordedPool, RecordedYard

__all__ = ["fabrics", "needs"]


def needs(yard: RecordedYard) -> list[Need]:
    """Return the quotas that all pools need. If several pools share a quota, their amounts are added."""
    found: dict[tuple[str | None, str, str, str | None], list[tuple[str, int]]] = {}
    for pool in yard.pools:
        if pool.machine:
            key, amount = _need(pool, pool.machine)
            found.setdefault(key, []).append((pool.name, amount))
            if (all_regions := table(pool.cloud).global_quota) and pool.service.list_prices and pool.spec.mode != "reservation":
                key = (all_regions.code, all_regions.name, all_regions.unit, None)
                found.setdefault(key, []).append((pool.name, pool.machine.gpus * pool.spec.max_nodes))
    return [
        Need(code=code, name=name, unit=unit, amount=sum(n for _, n in asked), pools=[pool for pool, _ in asked], granted=why)
        for (code, name, unit, why), asked in found.items()
    ]


def _need(pool: RecordedPool, machine: Machine) -> tuple[tuple[str | None, str, str, str | None], int]:
    """Return (code, name, unit, why no request is needed) of the pool's quota, and the amount."""
    spec = pool.spec
    if spec.mode == "capacity_block":
        return (None, f"capacity block of {machine.name}", "nodes", "granted with the block"), spec.max_nodes
    kind = {"reservation": "on_demand", "flex_start": "spot"}.get(spec.mode, spec.mode)  # flex start takes preemptible quota
    quota = CLOUDS[pool.cloud].own_quota(pool) or machine.quotas.get(kind)
    if quota is None:
        return (None, f"{machine.name} {spec.mode}", "nodes", None), spec.max_nodes
    return (quota.code, quota.name, quota.unit, None), quota.per_node * spec.max_nodes


def fabrics(yard: RecordedYard) -> list[Fabric]:
    """Return the network fabric of each pool."""
    return [
        Fabric(
            pool=pool.name,
            nics=pool.machine.fast_nics,
            card=CLOUDS[pool.cloud].fast_card,
            gbps=pool.machine.network_gbps,
            transport=pool.machine.transport,
            floor=pool.spec.fabric_floor,
        )
        for pool in yard.pools
        if pool.machine
    ]
