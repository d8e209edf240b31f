"""Compute the cost of a yard, idle and with every node on, from the dated catalogue or the pools' own prices."""

from __future__ import annotations

import datetime

from gpuyard.counts import counted

from .. import catalogue
from ..spec.capacity import CapacityBlock
from .amounts import UNKNOWN, at_most, exact, total
from .clouds import CLOUDS
from .disks import disk_dates, disk_lines, unpriced_disks
from .document import Amount, Line, Money
from .paid_nodes import HOURS_PER_MONTH, PaidNodes, paid_nodes
from .standing import standing_dates, standing_lines
from .yard import RecordedPool, RecordedYard

__all__ = ["hours_that_fit", "money", "node_rate"]


def money(yard: RecordedYard, now: datetime.datetime) -> Money:
    """Return the cost of pools, disks and standing resources, their sums, and the hours that the budget pays.

    `now` decides which pools have ended, and for how many hours of the next month the other pools exist.
    """
    pools = [(pool, paid_nodes(pool, now)) for pool in yard.pools if pool.machine]
    lines = [_pool_line(pool, nodes) for pool, nodes in pools]
    lines += [*map(_unknown_pool, yard.unknown_pools), *disk_lines(yard, now), *standing_lines(yard)]
    budget = _budget(yard)
    idle, full = total(line.idle for line in lines), total(line.full for line in lines)
    idle_month = total(line.idle_month for line in lines)
    return Money(
        lines=lines,
        idle=idle,
        full=full,
        month=total(line.month for line in lines),
        idle_month=idle_month,
        budget=budget,
        hours=hours_that_fit(budget, idle_month, idle, full),
        prices_of=_oldest_date(yard, now),
        not_priced=_not_priced(yard, now),
    )


def node_rate(pool: RecordedPool) -> tuple[Amount, str]:
    """Return the price of a node in USD per hour, and its source as text. The pool's own price comes first."""
    spec, machine = pool.spec, pool.machine
    mode = spec.mode.replace("_", " ")
    if spec.price_usd_per_hour is not None:
        return exact(spec.price_usd_per_hour), f"{spec.price_usd_per_hour:.10g} {mode}, own rate"
    if machine is None:
        return UNKNOWN, "price unknown"
    rate = machine.rate(pool.region, spec.mode, spec.service)
    if rate:
        return exact(rate.usd_per_hour), f"{rate.usd_per_hour:.10g} {mode}"
    bound = machine.rate(pool.region, "on_demand", spec.service) if spec.mode in ("spot", "flex_start") else None
    return (at_most(bound.usd_per_hour) if bound else UNKNOWN), f"{mode}: price unknown"


def _pool_line(pool: RecordedPool, nodes: PaidNodes) -> Line:
    rate, source = node_rate(pool)
    idle, full = rate.times(nodes.idle), rate.times(nodes.full)
    notes = [_end_note(pool, nodes)] if nodes.closed else [_note(pool, rate), _end_note(pool, nodes), _warm(pool.spec.keep_alive_minutes)]
    return Line(
        name=pool.name,
        region=pool.region,
        what=f"{pool.spec.max_nodes} x {source}",
        idle=idle,
        full=full,
        month=full.times(nodes.hours),
        idle_month=idle.times(nodes.hours),
        note="; ".join(filter(None, notes)) or None,
    )


def _end_note(pool: RecordedPool, nodes: PaidNodes) -> str | None:
    """Return the note on a pool that has ended or ends within the next month."""
    if nodes.end is None or nodes.hours == HOURS_PER_MONTH:
        return f"ends {pool.spec.capacity.ends}" if isinstance(pool.spec.capacity, CapacityBlock) else None
    when = f"{nodes.end.at:%Y-%m-%dT%H:%MZ}, because {nodes.end.because}"
    return f"closed since {when}" if nodes.closed else f"the month counts {nodes.hours:.0f} h, to {when}"


def _warm(minutes: int) -> str | None:
    """Return the note on nodes that the service keeps warm after a job. The cost of a job does not include these minutes."""
    return f"each node stays warm, and paid, for {counted(minutes, 'minute')} after a job" if minutes else None


def _note(pool: RecordedPool, rate: Amount) -> str | None:
    spec = pool.spec
    if spec.mode == "reservation":
        return "reserved: paid whether used or not"
    if spec.mode == "capacity_block":
        return "a block is paid in advance" if rate.high is not None else "a block is paid in advance; set price_usd_per_hour"
    if rate.low != rate.high and rate.high is not None:
        return "at most the on-demand price"
    if rate.high is None:
        listed = f"no list price in {pool.region or 'an unknown region'}"
        why = listed if pool.service.list_prices else f"{spec.service} has its own prices"
        return f"{why}; set price_usd_per_hour"
    return None


_NOT_KNOWN = dict.fromkeys(("idle", "full", "month", "idle_month"), UNKNOWN)


def _unknown_pool(name: str) -> Line:
    note = "its spec has values that are not known before `pulumi up`"
    return Line(name=name, region=None, what="pool with an unknown spec", **_NOT_KNOWN, note=note)


def _budget(yard: RecordedYard) -> float | None:
    """Return USD per month of the Budget components, or of budgets declared without gpuyard if there are no Budget components."""
    if yard.named("Budget"):
        return yard.budget
    amounts = [amount for rules in CLOUDS.values() for amount in rules.budgets(yard)]
    return sum(amounts) if amounts else None


def hours_that_fit(budget: float | None, idle_month: Amount, idle: Amount, full: Amount) -> Amount | None:
    """Return how many hours per month all nodes can run. The budget pays the idle cost first, then the additional cost of running nodes.

    `idle` and `full` are in USD per hour, `budget` and `idle_month` in USD per month. None: no budget, or running nodes add no cost.
    Unknown prices cannot lower the lower bound. It is 0 if the idle cost alone exceeds the budget.
    """
    if budget is None or full.high == idle.high == full.low == idle.low:
        return None
    rest = [budget - month for month in (idle_month.low, idle_month.high or 0)]
    adds = Amount(low=max(0, full.low - idle.low), high=None if full.high is None or idle.high is None else max(0, full.high - idle.high))
    least = 0.0 if adds.high is None or idle.high is None else max(0.0, rest[1]) / adds.high if adds.high else None
    most = max(0.0, rest[0]) / adds.low if adds.low else None
    return None if least is None else Amount(low=least, high=most)


def _oldest_date(yard: RecordedYard, now: datetime.datetime) -> str | None:
    """Return the oldest date of all list prices used; None if no list price is used."""
    found = [*standing_dates(yard), *disk_dates(yard, now)]
    for pool in yard.pools:
        own = pool.spec.price_usd_per_hour is not None
        rates = pool.machine.prices.get(pool.region or "", {}).values() if pool.machine and not own else ()
        found += [catalogue.table(pool.cloud).sources[rate.source].date for rate in rates]
    dated = [date for date in found if date is not None]
    return min(dated).isoformat() if dated else None


def _not_priced(yard: RecordedYard, now: datetime.datetime) -> list[str]:
    """Return the resources that cost money but have no price in the catalogue, including the nodes' disks."""
    counts = [(noun, len(yard.of(kind))) for rules in CLOUDS.values() for kind, noun in rules.unpriced.items()]
    counts += unpriced_disks(yard, now).items()
    return [f"{number} x {noun}" for noun, number in counts if number]
