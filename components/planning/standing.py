"""The cost of resources that are billed even when no job runs, such as NAT gateways: a line of the money table for each region."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gpuyard.counts import counted

from .. import catalogue
from .amounts import UNKNOWN, exact, total
from .clouds import CLOUDS, Standing
from .document import Amount, Line
from .paid_nodes import HOURS_PER_MONTH
from .yard import RecordedYard

__all__ = ["standing_dates", "standing_lines"]


class _Priced(NamedTuple):
    """Resources of one kind in one region that are billed even when no job runs, with their price."""

    cloud: str
    region: str | None
    found: Standing
    rate: catalogue.Rate | None

    @property
    def cost(self) -> Amount:
        """USD per hour of these resources together."""
        if self.rate is None or self.found.number is None:
            return UNKNOWN
        return exact(self.rate.usd_per_hour).times(self.found.number)


def standing_lines(yard: RecordedYard) -> list[Line]:
    """Return one line for each region. With several regions, the line's name contains the region."""
    there = list(_standing(yard))
    regions = sorted({each.region for each in there}, key=str)
    return [_line([each for each in there if each.region == region], named=len(regions) > 1) for region in regions]


def standing_dates(yard: RecordedYard) -> list[datetime.date | None]:
    """Return the dates of the list prices that the lines use."""
    return [catalogue.table(each.cloud).sources[each.rate.source].date for each in _standing(yard) if each.rate and each.found.number]


def _standing(yard: RecordedYard) -> Iterator[_Priced]:
    for cloud, rules in CLOUDS.items():
        for region, part in yard.by_region(cloud).items():
            for found in rules.standing(part):
                if found.number != 0:
                    yield _Priced(cloud, region, found, catalogue.table(cloud).item(found.item, region))


def _line(there: Sequence[_Priced], *, named: bool) -> Line:
    region, cost = there[0].region, total(each.cost for each in there)
    what = ", ".join(counted(found.number, found.noun, found.plural) for found in (each.found for each in there))
    missing = [each.found.noun for each in there if each.cost.high is None]
    note = "traffic, storage and requests not counted" + (f"; not known: {', '.join(missing)}" if missing else "")
    name = f"standing, {region or 'region not known'}" if named else "standing"
    month = cost.times(HOURS_PER_MONTH)
    return Line(name=name, region=region, what=what, idle=cost, full=cost, month=month, idle_month=month, note=note)
