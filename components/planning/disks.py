"""The cost of the nodes' root disks: a row of the money table for each region. A disk exists as long as its node."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .. import catalogue
from .amounts import exact, total
from .clouds import CLOUDS, RootDisk
from .document import Line
from .paid_nodes import PaidNodes, paid_nodes
from .yard import RecordedPool, RecordedYard

__all__ = ["disk_dates", "disk_lines", "unpriced_disks"]


class _Priced(NamedTuple):
    """The root disks of one pool, and the price of one disk."""

    pool: RecordedPool
    disk: RootDisk
    nodes: PaidNodes
    usd_per_hour: float | None
    """None: no price in the catalogue."""


def disk_lines(yard: RecordedYard, now: datetime.datetime) -> list[Line]:
    """Return a row for each region that has disks with a price. With several regions, the row's name contains the region."""
    there = [each for each in _disks(yard, now) if each.usd_per_hour is not None]
    regions = sorted({each.pool.region for each in there}, key=str)
    return [_line([each for each in there if each.pool.region == region], named=len(regions) > 1) for region in regions]


def disk_dates(yard: RecordedYard, now: datetime.datetime) -> list[datetime.date | None]:
    """Return the dates of the list prices that the rows use."""
    found = []
    for each in _disks(yard, now):
        rate = catalogue.table(each.pool.cloud).disk(each.disk.kind, each.pool.region)
        if rate is not None and each.usd_per_hour is not None:
            found.append(catalogue.table(each.pool.cloud).sources[rate.source].date)
    return found


def unpriced_disks(yard: RecordedYard, now: datetime.datetime) -> Counter[str]:
    """Return the number of disks without a price in the catalogue, by the disk's description and region."""
    found = Counter[str]()
    for each in _disks(yard, now):
        if each.usd_per_hour is None:
            where = f" in {each.pool.region or 'an unknown region'}" if each.disk.kind else ""
            found[each.disk.noun + where] += each.nodes.full
    return found


def _disks(yard: RecordedYard, now: datetime.datetime) -> Iterator[_Priced]:
    for pool in sorted(yard.pools, key=lambda pool: pool.spec.root_disk_gib):
        disk = CLOUDS[pool.cloud].disk(pool, yard) if pool.machine else None
        nodes = paid_nodes(pool, now)
        if disk is not None and nodes.full:
            rate = catalogue.table(pool.cloud).disk(disk.kind, pool.region)
            yield _Priced(pool, disk, nodes, rate.usd_per_hour(pool.spec.root_disk_gib) if rate else None)


def _line(there: Sequence[_Priced], *, named: bool) -> Line:
    region, numbers = there[0].pool.region, Counter[str]()
    for each in there:
        numbers[each.disk.noun] += each.nodes.full
    priced = [(exact(each.usd_per_hour or 0), each.pool.spec.min_nodes, each.nodes) for each in there]  # idle reserved machines do not run
    return Line(
        name=f"disks, {region or 'region not known'}" if named else "disks",
        region=region,
        what=", ".join(f"{number} x {noun}" for noun, number in numbers.items()),
        idle=total(rate.times(running) for rate, running, _ in priced),
        full=total(rate.times(nodes.full) for rate, _, nodes in priced),
        month=total(rate.times(nodes.full * nodes.hours) for rate, _, nodes in priced),
        idle_month=total(rate.times(running * nodes.hours) for rate, running, nodes in priced),
        note=None,
    )
