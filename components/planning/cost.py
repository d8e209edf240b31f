"""The money of a yard, idle and with everything on, from the dated catalogue or the pools' own rates. What is not known is not guessed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .. import catalogue
from ..pool_spec import GpuPoolSpec
from ..services import SERVICES
from .document import Amount, Line, Money
from .facts import Pool, Resource, Yard, known

HOURS_PER_MONTH = 730
# What stands and costs, but is in no catalogue: told, not priced.
_UNPRICED = {
    "aws:ec2/instance:Instance": "EC2 instance",
    "aws:ebs/volume:Volume": "EBS volume",
    "aws:ec2/capacityReservation:CapacityReservation": "capacity reservation",
    "aws:ec2/capacityBlockReservation:CapacityBlockReservation": "capacity block",
    "aws:eks/cluster:Cluster": "EKS cluster",
    "aws:fsx/lustreFileSystem:LustreFileSystem": "Lustre file system",
    "aws:efs/fileSystem:FileSystem": "EFS file system",
    "aws:lb/loadBalancer:LoadBalancer": "load balancer",
    "aws:rds/instance:Instance": "database",
    "aws:sagemaker/domain:Domain": "SageMaker domain",
    "aws:sagemaker/notebookInstance:NotebookInstance": "SageMaker notebook",
}


def exact(usd: float) -> Amount:
    """A known amount."""
    return Amount(low=usd, high=usd)


def at_most(usd: float) -> Amount:
    """An amount of which only a bound is known."""
    return Amount(low=0, high=usd)


UNKNOWN = Amount(low=0, high=None)


def money(yard: Yard) -> Money:
    """Idle, full, and what the budget has to do with them."""
    lines = [_pool_line(pool, yard.region) for pool in yard.pools if pool.machine]
    lines += [_unread(name) for name in yard.unread_pools]
    items = _items(yard)
    if items:
        lines.append(items)
    idle, full = _total(line.idle for line in lines), _total(line.full for line in lines)
    return Money(
        lines=lines,
        idle=idle,
        full=full,
        month=full.times(HOURS_PER_MONTH),
        idle_month=idle.times(HOURS_PER_MONTH),
        budget=yard.budget,
        hours=hours_that_fit(yard.budget, idle, full),
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
    bound = machine.rate(region, "on_demand", spec.service) if spec.mode == "spot" else None
    return (at_most(bound.usd_per_hour) if bound else UNKNOWN), f"{words}: price unknown"


def _pool_line(pool: Pool, region: str | None) -> Line:
    rate, words = node_rate(pool, region)
    spec = pool.spec
    full = rate.times(spec.max_nodes)
    what = f"{spec.max_nodes} x {words}"
    return Line(
        name=pool.name,
        what=what,
        idle=rate.times(_held(spec)),
        full=full,
        month=full.times(HOURS_PER_MONTH),
        note=_note(pool, rate, region),
    )


def _held(spec: GpuPoolSpec) -> int:
    """Nodes that are paid while no job runs: reserved ones always; of a service that holds the machines, none stands waiting."""
    if spec.mode == "reservation":
        return spec.max_nodes
    return spec.min_nodes if SERVICES[spec.service].zone == "required" else 0


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
            f"{spec.service} has rates of its own"
            if SERVICES[spec.service].zone != "required"
            else f"no list price in {region or 'an unknown region'}"
        )
        return f"{whose}; say yours with price_usd_per_hour"
    return None


def _unread(name: str) -> Line:
    note = "its spec holds what is not known yet"
    return Line(name=name, what="pool: not known", idle=UNKNOWN, full=UNKNOWN, month=UNKNOWN, note=note)


def _items(yard: Yard) -> Line | None:
    """What stands whether jobs run or not."""
    there = _standing(yard)
    if not there:
        return None
    cost = _total(_item_rate(item, yard.region).times(number) if number is not None else UNKNOWN for item, _, number in there)
    what = ", ".join(f"{'?' if number is None else number} {word}{'' if number == 1 else 's'}" for _, word, number in there)
    missing = [word for item, word, number in there if number is None or _item_rate(item, yard.region).high is None]
    note = "traffic, storage and requests not counted" + (f"; not known: {', '.join(missing)}" if missing else "")
    return Line(name="standing", what=what, idle=cost, full=cost, month=cost.times(HOURS_PER_MONTH), note=note)


def _standing(yard: Yard) -> list[tuple[str, str, int | None]]:
    """The catalogue's item, its word, how many there are (None: nobody knows here); nothing of which there is none."""
    counted: list[tuple[str, str, int | None]] = [
        ("nat_gateway", "NAT gateway", _gateways(yard)),
        ("public_ipv4", "public IPv4 address", len(yard.of("aws:ec2/eip:Eip"))),
        ("interface_endpoint", "interface endpoint x zone", _endpoints(yard)),
        ("kms_key", "KMS key", len(yard.of("aws:kms/key:Key"))),
    ]
    return [entry for entry in counted if entry[2] != 0]


def _item_rate(item: str, region: str | None) -> Amount:
    rate = catalogue.table("aws").item(item, region)
    return exact(rate.usd_per_hour) if rate else UNKNOWN


def _gateways(yard: Yard) -> int | None:
    """A regional gateway is billed for each zone it is in: nobody knows here which these are."""
    gateways = yard.of("aws:ec2/natGateway:NatGateway")
    return None if any(gateway.inputs.get("availabilityMode") == "regional" for gateway in gateways) else len(gateways)


def _endpoints(yard: Yard) -> int | None:
    zones = [
        _zones(endpoint) for endpoint in yard.of("aws:ec2/vpcEndpoint:VpcEndpoint") if endpoint.inputs.get("vpcEndpointType") == "Interface"
    ]
    return None if any(number is None for number in zones) else sum(number or 0 for number in zones)


def _zones(endpoint: Resource) -> int | None:
    subnets: Any = endpoint.inputs.get("subnetIds", [])
    return len(subnets) if known(subnets) else None


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
        rates = pool.machine.prices.get(yard.region or "", {}).values() if pool.machine and pool.spec.price_usd_per_hour is None else ()
        found += [catalogue.table(pool.cloud).sources[rate.source].date for rate in rates]
    prices = [catalogue.table("aws").item(item, yard.region) for item, _, number in _standing(yard) if number]
    found += [catalogue.table("aws").sources[rate.source].date for rate in prices if rate]
    dated = [date for date in found if date is not None]
    return min(dated).isoformat() if dated else None


def _not_priced(yard: Yard) -> list[str]:
    counts: Sequence[tuple[str, int]] = [(word, len(yard.of(kind))) for kind, word in _UNPRICED.items()]
    return [f"{number} x {word}" for word, number in counts if number]
