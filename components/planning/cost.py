"""The money of a yard, idle and with everything on, from the dated catalogue or the pools' own rates. What is not known is not guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .. import catalogue
from .clouds import CLOUDS, Standing
from .document import Amount, Line, Money
from .layout import counted
from .yard import Pool, Yard

HOURS_PER_MONTH = 730


def exact(usd: float) -> Amount:
    """A known amount."""
    return Amount(low=usd, high=usd)


def at_most(usd: float) -> Amount:
    """An amount of which only a bound is known."""
    return Amount(low=0, high=usd)


UNKNOWN = Amount(low=0, high=None)


def money(yard: Yard) -> Money:
    """Idle, full, and what the budget has to do with them."""
    lines = [_pool_line(pool, yard.regions.get(pool.cloud)) for pool in yard.pools if pool.machine]
    lines += [_unread(name) for name in yard.unread_pools]
    items = _items(yard)
    if items:
        lines.append(items)
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


def node_rate(pool: Pool, region: str | None) -> tuple[Amount, str]:
    """USD per hour of one node, and in words where that comes from. The pool's own rate comes first."""
    spec, machine = pool.spec, pool.machine
    words = spec.mode.replace("_", " ")
    if spec.price_usd_per_hour is not None:
        return exact(spec.price_usd_per_hour), f"{spec.price_usd_per_hour:.10g} {words}, own rate"
    if machine is None:
        return UNKNOWN, "price unknown"
    rate = machine.rate(region, spec.mode, spec.service)
    if rate:
        return exact(rate.usd_per_hour), f"{rate.usd_per_hour:.10g} {words}"
    bound = machine.rate(region, "on_demand", spec.service) if spec.mode in ("spot", "flex_start") else None
    return (at_most(bound.usd_per_hour) if bound else UNKNOWN), f"{words}: price unknown"


def _pool_line(pool: Pool, region: str | None) -> Line:
    rate, words = node_rate(pool, region)
    spec = pool.spec
    full = rate.times(spec.max_nodes)
    what = f"{spec.max_nodes} x {words}"
    return Line(
        name=pool.name,
        what=what,
        idle=rate.times(_held(pool)),
        full=full,
        month=full.times(HOURS_PER_MONTH),
        note="; ".join(filter(None, (_note(pool, rate, region), _warm(spec.keep_alive_minutes)))) or None,
    )


def _held(pool: Pool) -> int:
    """Nodes that are paid while no job runs: reserved ones always, and those that are kept."""
    return pool.spec.max_nodes if pool.spec.mode == "reservation" else pool.spec.min_nodes


def _warm(minutes: int) -> str | None:
    """What is paid between jobs, and in no job's cost."""
    return f"{minutes} minutes more after each job" if minutes else None


def _note(pool: Pool, rate: Amount, region: str | None) -> str | None:
    spec = pool.spec
    if spec.mode == "reservation":
        return "reserved: paid whether used or not"
    if spec.mode == "capacity_block":
        return "a block is paid in advance" if rate.high is not None else "a block is paid in advance; say its rate with price_usd_per_hour"
    if rate.low != rate.high and rate.high is not None:
        return "bounded by on demand"
    if rate.high is None:
        whose = (
            f"{spec.service} has rates of its own" if not pool.service.list_prices else f"no list price in {region or 'an unknown region'}"
        )
        return f"{whose}; say yours with price_usd_per_hour"
    return None


def _unread(name: str) -> Line:
    note = "its spec holds what is not known yet"
    return Line(name=name, what="pool: not known", idle=UNKNOWN, full=UNKNOWN, month=UNKNOWN, note=note)


def _budget(yard: Yard) -> float | None:
    """USD per month: of the Budget components, else of the clouds' own budgets."""
    if yard.named("Budget"):
        return yard.budget
    amounts = [amount for rules in CLOUDS.values() for amount in rules.budgets(yard)]
    return sum(amounts) if amounts else None


def _items(yard: Yard) -> Line | None:
    """What stands whether jobs run or not."""
    there = _standing(yard)
    if not there:
        return None
    rates = [_item_rate(yard, cloud, each.item) for cloud, each in there]
    each_cost = [UNKNOWN if each.number is None else rate.times(each.number) for (_, each), rate in zip(there, rates, strict=True)]
    cost = _total(each_cost)
    what = ", ".join(counted(each.number, each.word, each.plural) for _, each in there)
    missing = [each.word for (_, each), amount in zip(there, each_cost, strict=True) if amount.high is None]
    note = "traffic, storage and requests not counted" + (f"; not known: {', '.join(missing)}" if missing else "")
    return Line(name="standing", what=what, idle=cost, full=cost, month=cost.times(HOURS_PER_MONTH), note=note)


def _standing(yard: Yard) -> list[tuple[str, Standing]]:
    """By cloud; nothing of which there is none."""
    return [(cloud, each) for cloud, rules in CLOUDS.items() for each in rules.standing(yard) if each.number != 0]


def _item_rate(yard: Yard, cloud: str, item: str) -> Amount:
    rate = catalogue.table(cloud).item(item, yard.regions.get(cloud))
    return exact(rate.usd_per_hour) if rate else UNKNOWN


def hours_that_fit(budget: float | None, idle: Amount, full: Amount) -> Amount | None:
    """How many hours of a month everything may be on: the idle cost is paid anyway, the rest buys what running adds.

    `idle` and `full` are in USD per hour, `budget` in USD per month. None: no budget, or running adds nothing. The lower bound holds
    whatever the unknown prices are, within theirs; the idle cost alone above the budget leaves none.
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


def _dates(yard: Yard) -> str | None:
    """The oldest date of the prices used, those of what stands too: how old the figures can be."""
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


def _not_priced(yard: Yard) -> list[str]:
    """What costs too: the nodes' disks among it, whose price no dated source has."""
    counts = [(word, len(yard.of(kind))) for rules in CLOUDS.values() for kind, word in rules.unpriced.items()]
    disks = Counter[str]()
    for pool in sorted(yard.pools, key=lambda pool: pool.spec.root_disk_gib):
        word = CLOUDS[pool.cloud].disk(pool, yard) if pool.machine else None
        if word:
            disks[word] += pool.spec.max_nodes
    counts += disks.items()
    return [f"{number} x {word}" for word, number in counts if number]
