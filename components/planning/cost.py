"""The cost of a yard, idle and with every node on, from the dated catalogue or the pools' own rates. Unknown prices stay unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gpuyard.counts import counted

from .. import catalogue
from .clouds import CLOUDS, Standing
from .document import Amount, Line, Money
from .yard import RecordedPool, RecordedYard

__all__ = ["HOURS_PER_MONTH", "UNKNOWN", "at_most", "exact", "hours_that_fit", "money", "node_rate"]

HOURS_PER_MONTH = 730


def exact(usd: float) -> Amount:
    """Return a known amount."""
    return Amount(low=usd, high=usd)


def at_most(usd: float) -> Amount:
    """Return an amount of which only the upper bound is known."""
    return Amount(low=0, high=usd)


UNKNOWN = Amount(low=0, high=None)


def money(yard: RecordedYard) -> Money:
    """Return the cost of pools and standing resources, their sums, and the hours that the budget pays."""
    lines = [_pool_line(pool, yard.regions.get(pool.cloud)) for pool in yard.pools if pool.machine]
    lines += [_unknown_pool(name) for name in yard.unknown_pools]
    standing = _standing_line(yard)
    if standing:
        lines.append(standing)
    budget = _budget(yard)
    idle, full = _total(line.idle for line in lines), _total(line.full for line in lines)
    return Money(
        lines=lines,
        idle=idle,
        full=full,
        month=full.times(HOURS_PER_MONTH),
        idle_month=idle.times(HOURS_PER_MONTH),
        budget=budget,
        hours=hours_that_fit(budget, idle, full),
        prices_of=_dates(yard),
        not_priced=_not_priced(yard),
    )


def node_rate(pool: RecordedPool, region: str | None) -> tuple[Amount, str]:
    """Return USD per hour of one node, and the price's source as text. The pool's own rate comes first."""
    spec, machine = pool.spec, pool.machine
    mode = spec.mode.replace("_", " ")
    if spec.price_usd_per_hour is not None:
        return exact(spec.price_usd_per_hour), f"{spec.price_usd_per_hour:.10g} {mode}, own rate"
    if machine is None:
        return UNKNOWN, "price unknown"
    rate = machine.rate(region, spec.mode, spec.service)
    if rate:
        return exact(rate.usd_per_hour), f"{rate.usd_per_hour:.10g} {mode}"
    bound = machine.rate(region, "on_demand", spec.service) if spec.mode in ("spot", "flex_start") else None
    return (at_most(bound.usd_per_hour) if bound else UNKNOWN), f"{mode}: price unknown"


def _pool_line(pool: RecordedPool, region: str | None) -> Line:
    rate, source = node_rate(pool, region)
    spec = pool.spec
    full = rate.times(spec.max_nodes)
    what = f"{spec.max_nodes} x {source}"
    return Line(
        name=pool.name,
        what=what,
        idle=rate.times(_idle_nodes(pool)),
        full=full,
        month=full.times(HOURS_PER_MONTH),
        note="; ".join(filter(None, (_note(pool, rate, region), _warm(spec.keep_alive_minutes)))) or None,
    )


def _idle_nodes(pool: RecordedPool) -> int:
    """Return how many nodes are paid while no job runs: all nodes of a reservation, else min_nodes."""
    return pool.spec.max_nodes if pool.spec.mode == "reservation" else pool.spec.min_nodes


def _warm(minutes: int) -> str | None:
    """Return the note on nodes that the service keeps warm after a job. No job's cost includes these minutes."""
    return f"each node stays warm, and paid, for {counted(minutes, 'minute')} after a job" if minutes else None


def _note(pool: RecordedPool, rate: Amount, region: str | None) -> str | None:
    spec = pool.spec
    if spec.mode == "reservation":
        return "reserved: paid whether used or not"
    if spec.mode == "capacity_block":
        return "a block is paid in advance" if rate.high is not None else "a block is paid in advance; set its rate with price_usd_per_hour"
    if rate.low != rate.high and rate.high is not None:
        return "at most the on-demand price"
    if rate.high is None:
        why = f"{spec.service} has its own rates" if not pool.service.list_prices else f"no list price in {region or 'an unknown region'}"
        return f"{why}; set yours with price_usd_per_hour"
    return None


def _unknown_pool(name: str) -> Line:
    note = "its spec has values that are not known before `pulumi up`"
    return Line(name=name, what="pool with an unknown spec", idle=UNKNOWN, full=UNKNOWN, month=UNKNOWN, note=note)


def _budget(yard: RecordedYard) -> float | None:
    """Return USD per month of the Budget components; if there are none, of the budgets declared without gpuyard."""
    if yard.named("Budget"):
        return yard.budget
    amounts = [amount for rules in CLOUDS.values() for amount in rules.budgets(yard)]
    return sum(amounts) if amounts else None


def _standing_line(yard: RecordedYard) -> Line | None:
    """Return the line of the resources that cost money even when no job runs, such as NAT gateways; None if there are none."""
    there = _standing(yard)
    if not there:
        return None
    rates = [_item_rate(yard, cloud, each.item) for cloud, each in there]
    each_cost = [UNKNOWN if each.number is None else rate.times(each.number) for (_, each), rate in zip(there, rates, strict=True)]
    cost = _total(each_cost)
    what = ", ".join(counted(each.number, each.noun, each.plural) for _, each in there)
    missing = [each.noun for (_, each), amount in zip(there, each_cost, strict=True) if amount.high is None]
    note = "traffic, storage and requests not counted" + (f"; not known: {', '.join(missing)}" if missing else "")
    return Line(name="standing", what=what, idle=cost, full=cost, month=cost.times(HOURS_PER_MONTH), note=note)


def _standing(yard: RecordedYard) -> list[tuple[str, Standing]]:
    """Return the standing resources of the yard, each with its cloud."""
    return [(cloud, each) for cloud, rules in CLOUDS.items() for each in rules.standing(yard) if each.number != 0]


def _item_rate(yard: RecordedYard, cloud: str, item: str) -> Amount:
    rate = catalogue.table(cloud).item(item, yard.regions.get(cloud))
    return exact(rate.usd_per_hour) if rate else UNKNOWN


def hours_that_fit(budget: float | None, idle: Amount, full: Amount) -> Amount | None:
    """Return how many hours per month all nodes can run: the budget pays the idle cost first, then the additional cost of running nodes.

    `idle` and `full` are in USD per hour, `budget` in USD per month. None: no budget, or running nodes cost nothing more. The lower bound
    holds whatever the unknown prices are. It is 0 if the idle cost alone exceeds the budget.
    """
    if budget is None or full.high == idle.high == full.low == idle.low:
        return None
    rest = [budget - month for month in (idle.low * HOURS_PER_MONTH, (idle.high or 0) * HOURS_PER_MONTH)]
    adds = Amount(low=max(0, full.low - idle.low), high=None if full.high is None or idle.high is None else max(0, full.high - idle.high))
    least = 0.0 if adds.high is None or idle.high is None else max(0.0, rest[1]) / adds.high if adds.high else None
    most = max(0.0, rest[0]) / adds.low if adds.low else None
    return None if least is None else Amount(low=least, high=most)


def _total(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, exact(0))


def _dates(yard: RecordedYard) -> str | None:
    """Return the oldest date of all list prices used; None if no list price is used."""
    found = []
    for pool in yard.pools:
        rates = (
            pool.machine.prices.get(yard.regions.get(pool.cloud) or "", {}).values()
            if pool.machine and pool.spec.price_usd_per_hour is None
            else ()
        )
        found += [catalogue.table(pool.cloud).sources[rate.source].date for rate in rates]
    for cloud, each in _standing(yard):
        rate = catalogue.table(cloud).item(each.item, yard.regions.get(cloud)) if each.number else None
        found += [catalogue.table(cloud).sources[rate.source].date] if rate else []
    dated = [date for date in found if date is not None]
    return min(dated).isoformat() if dated else None


def _not_priced(yard: RecordedYard) -> list[str]:
    """Return the resources that cost money and have no price in the catalogue, including the nodes' disks."""
    counts = [(noun, len(yard.of(kind))) for rules in CLOUDS.values() for kind, noun in rules.unpriced.items()]
    disks = Counter[str]()
    for pool in sorted(yard.pools, key=lambda pool: pool.spec.root_disk_gib):
        disk = CLOUDS[pool.cloud].disk(pool, yard) if pool.machine else None
        if disk:
            disks[disk] += pool.spec.max_nodes
    counts += disks.items()
    return [f"{number} x {noun}" for noun, number in counts if number]
