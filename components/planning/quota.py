"""The quotas that the account needs for all nodes of the pools, and the network fabric of the nodes."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from ..catalogue import Machine, table
from .clouds import CLOUDS
from .document import Fabric, Need
from .paid_nodes import paid_nodes
from .yard import RecordedPool, RecordedYard

__all__ = ["fabrics", "needs"]


class _Quota(NamedTuple):
    """A quota that pools can share."""

    code: str | None
    name: str
    unit: str
    granted: str | None
    """Why no request is needed."""
    region: str | None
    all_regions: bool = False


def needs(yard: RecordedYard, now: datetime.datetime) -> list[Need]:
    """Return the quotas that the pools need. A quota shared by several pools has the sum of their amounts. Ended pools need no quota."""
    found: dict[_Quota, list[tuple[str, int]]] = {}
    for pool in yard.pools:
        if pool.machine and not paid_nodes(pool, now).closed:
            quota, amount = _need(pool, pool.machine)
            found.setdefault(quota, []).append((pool.name, amount))
            if (shared := table(pool.cloud).global_quota) and pool.service.list_prices and pool.spec.mode != "reservation":
                quota = _Quota(shared.code, shared.name, shared.unit, None, None, all_regions=True)
                found.setdefault(quota, []).append((pool.name, pool.machine.gpus * pool.spec.max_nodes))
    return [
        Need(**quota._asdict(), amount=sum(number for _, number in parts), pools=[pool for pool, _ in parts])
        for quota, parts in found.items()
    ]


def _need(pool: RecordedPool, machine: Machine) -> tuple[_Quota, int]:
    """Return the pool's quota in its region, and the amount that the pool needs."""
    spec = pool.spec
    if spec.mode == "capacity_block":
        return _Quota(None, f"capacity block of {machine.name}", "nodes", "granted with the block", pool.region), spec.max_nodes
    kind = {"reservation": "on_demand", "flex_start": "spot"}.get(spec.mode, spec.mode)  # flex start takes preemptible quota
    quota = CLOUDS[pool.cloud].own_quota(pool) or machine.quotas.get(kind)
    if quota is None:
        return _Quota(None, f"{machine.name} {spec.mode}", "nodes", None, pool.region), spec.max_nodes
    return _Quota(quota.code, quota.name, quota.unit, None, pool.region), quota.per_node * spec.max_nodes


def fabrics(yard: RecordedYard) -> list[Fabric]:
    """Return the network fabric of each pool."""
    return [
        Fabric(
            pool=pool.name,
            nics=pool.machine.fast_nics,
            card=CLOUDS[pool.cloud].fast_card,
            gbps=pool.machine.fabric_line_gbps,
            transport=pool.machine.transport,
            floor=pool.spec.floor(pool.machine),
        )
        for pool in yard.pools
        if pool.machine
    ]
