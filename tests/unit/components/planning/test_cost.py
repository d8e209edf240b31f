"""The cost of a yard: sums of bounds, idle and full cost, own rates, unknown prices, hours within the budget."""

from __future__ import annotations

import datetime
from functools import partial
from typing import Any

import pulumi_aws as aws
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.planning import cost
from gpuyard.components.planning.amounts import UNKNOWN, exact
from gpuyard.components.planning.cost import hours_that_fit
from gpuyard.components.planning.document import Amount, Money
from gpuyard.components.planning.paid_nodes import HOURS_PER_MONTH
from gpuyard.components.planning.quota import needs
from gpuyard.components.planning.yard import RecordedYard

from .conftest import L4, TAGS, MakeYard, dev, make_bucket, make_budget, make_network, make_pool

NOW = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)
H200 = {"machine": "p5en.48xlarge", "zone": "us-east-2b", "max_nodes": 8, "service": "batch"}
BLOCK = {"mode": "capacity_block", "reservation": "cr-1", "ends": "2026-12-19T11:30:00Z"}
H100 = {"machine": "p5.48xlarge", "max_nodes": 4, "service": "sagemaker", "capacity": "spot"}


def money(yard: RecordedYard, now: datetime.datetime = NOW) -> Money:
    return cost.money(yard, now)


amounts = st.tuples(st.floats(0, 1e6), st.none() | st.floats(0, 1e6)).map(
    lambda pair: Amount(low=pair[0], high=None if pair[1] is None else pair[0] + pair[1])
)


@given(amounts, amounts, amounts)
def test_sums_of_amounts_keep_their_bounds(a: Amount, b: Amount, c: Amount) -> None:
    total = a + b
    assert total.low == a.low + b.low
    assert total == b + a
    assert total.high is None or total.high >= total.low
    assert (total.high is None) == (a.high is None or b.high is None)
    left, right = (a + b) + c, a + (b + c)
    assert left.low == pytest.approx(right.low)


@given(amounts, st.integers(1, 1000))
def test_an_amount_times_a_number(amount: Amount, number: int) -> None:
    assert amount.times(number).low == amount.low * number
    assert (amount.times(number).high is None) == (amount.high is None)
    assert amount.times(0) == exact(0)  # zero nodes of an unknown price cost nothing


def line(found: Money, name: str) -> Any:
    return next(each for each in found.lines if each.name == name)


def test_a_yard_with_two_pools_and_a_budget(yard: MakeYard) -> None:
    found = money(yard(dev))
    l4, spot, standing = (line(found, name) for name in ("l4", "l4-spot", "standing"))
    assert (l4.what, l4.idle, l4.full.low, l4.full.high) == ("2 x 4.6016 on demand", exact(0), 9.2032, 9.2032)
    assert l4.month.high == pytest.approx(6718.3, abs=0.1)
    assert (spot.what, spot.full, spot.note) == ("1 x spot: price unknown", Amount(low=0, high=4.6016), "at most the on-demand price")
    assert standing.what == "1 NAT gateway, 1 public IPv4 address, 1 KMS key"
    assert standing.full.high == pytest.approx(0.045 + 0.005 + 1 / 730, abs=1e-6)
    assert found.idle == standing.full
    assert found.month.low == pytest.approx(6848.8, abs=0.1)
    assert found.month.high == pytest.approx(10208, abs=1)
    assert found.hours is not None
    assert found.hours.low == pytest.approx((1500 - 37.5) / (9.2032 + 4.6016 + 3 * 31 / 730), abs=0.1)
    assert found.prices_of == "2026-01-31"  # the date of the disks' price, which is the oldest


def test_min_nodes_cost_while_idle(yard: MakeYard) -> None:
    found = line(money(yard(partial(make_pool, "l4", {**L4, "min_nodes": 1}))), "l4")
    assert found.idle == exact(4.6016)
    assert found.full == exact(9.2032)


def test_reserved_nodes_cost_while_idle(yard: MakeYard) -> None:
    found = line(
        money(yard(partial(make_pool, "p", {**H200, "capacity": {"mode": "reservation", "reservation": "cr-1"}}), "us-east-2")), "p"
    )
    assert found.idle.high == pytest.approx(8 * 63.296)
    assert found.idle == found.full


@pytest.mark.parametrize(
    ("spec", "what", "high", "note"),
    [
        ({**H200, "capacity": BLOCK, "price_usd_per_hour": 39.8}, "8 x 39.8 capacity block, own rate", 318.4, "a block is paid in advance"),
        ({**H200, "capacity": BLOCK}, "8 x capacity block: price unknown", None, "set price_usd_per_hour"),
        (
            {**H200, "capacity": {"mode": "reservation", "reservation": "cr-1"}},
            "8 x 63.296 reservation",
            506.368,
            "paid whether used or not",
        ),
        ({**H100, "price_usd_per_hour": 26.5}, "4 x 26.5 spot, own rate", 106.0, None),
        (H100, "4 x spot: price unknown", None, "sagemaker has its own prices"),
        ({**H100, "capacity": "on_demand"}, "4 x on demand: price unknown", None, "sagemaker has its own prices"),
        ({**H200, "machine": "p5e.48xlarge"}, "8 x on demand: price unknown", None, "no list price in us-east-2"),
        ({**H200, "machine": "p5e.48xlarge", "capacity": "spot", "max_nodes": 1}, "1 x spot: price unknown", None, "no list price"),
        ({**H200, "machine": None, "accelerator": "H100:1"}, "8 x 6.88 on demand", 55.04, None),
    ],
)
def test_where_a_price_comes_from(yard: MakeYard, spec: dict[str, Any], what: str, high: float | None, note: str | None) -> None:
    given = {key: value for key, value in spec.items() if value is not None}
    found = line(money(yard(partial(make_pool, "p", given), "us-east-2")), "p")
    assert found.what == what
    assert found.full.high == (high and pytest.approx(high))
    assert found.note is None if note is None else note in str(found.note)


def test_keep_alive_minutes_are_noted(yard: MakeYard) -> None:
    warm = {**H100, "capacity": "on_demand", "keep_alive_minutes": 30}
    found = line(money(yard(lambda: make_pool("p", {**warm, "price_usd_per_hour": 60.0}))), "p")
    assert (found.idle, found.note) == (exact(0), "each node stays warm, and paid, for 30 minutes after a job")
    minute = line(money(yard(lambda: make_pool("p", {**warm, "price_usd_per_hour": 60.0, "keep_alive_minutes": 1}))), "p")
    assert minute.note == "each node stays warm, and paid, for 1 minute after a job"
    unknown = line(money(yard(lambda: make_pool("p", warm))), "p")
    assert unknown.note == f"sagemaker has its own prices; set price_usd_per_hour; {found.note}"


def test_an_unknown_region_has_no_prices(yard: MakeYard) -> None:
    found = money(yard(dev, None))
    assert line(found, "l4").full == UNKNOWN
    assert line(found, "l4").note == "no list price in an unknown region; set price_usd_per_hour"
    assert line(found, "standing").full.high is None
    assert found.full.high is None
    assert found.prices_of == "2026-02-24"  # the date of the public address, whose price is the same in every region


def test_endpoints_cost_in_each_zone(yard: MakeYard) -> None:
    (found,) = money(yard(lambda: make_network(nats=0, endpoints=3, zones=2))).lines
    assert found.what == "6 interface endpoints (per zone)"
    assert found.full.high == pytest.approx(0.06)


def test_a_regional_nat_gateway_has_an_unknown_count_and_cost(yard: MakeYard) -> None:
    (found,) = money(yard(lambda: aws.ec2.NatGateway("nat", availability_mode="regional", vpc_id="vpc-1"))).lines
    assert found.what == "? NAT gateways"
    assert found.full == UNKNOWN
    assert "not known: NAT gateway" in (found.note or "")


def test_resources_without_a_price_are_listed(yard: MakeYard) -> None:
    found = money(yard(lambda: aws.ec2.Instance("bastion", ami="ami-1", instance_type="t3.micro")))
    assert found.not_priced == ["1 x EC2 instance"]
    assert found.lines == []


def test_root_disks_cost_as_long_as_their_nodes_exist(yard: MakeYard) -> None:
    def program() -> None:
        make_pool("l4", {**L4, "min_nodes": 1})
        make_pool("more", {**L4, "max_nodes": 3})
        make_pool("big", {**L4, "disk_gib": 1000, "max_nodes": 1})

    found = money(yard(program))
    disks = line(found, "disks")
    small, big = (200 * 0.08 + 15) / 730, (1000 * 0.08 + 15) / 730
    assert disks.what == "5 x root disk of 200 GiB (gp3), 1 x root disk of 1000 GiB (gp3)"
    assert (disks.idle.high, disks.full.high) == (pytest.approx(small), pytest.approx(5 * small + big))
    assert disks.month.high == pytest.approx(730 * (5 * small + big))
    assert found.not_priced == []
    assert found.idle.high == pytest.approx(4.6016 + small)


def test_root_disks_without_a_price_are_listed(yard: MakeYard) -> None:
    assert money(yard(partial(make_pool, "l4", L4), "eu-central-1")).not_priced == ["2 x root disk of 200 GiB (gp3) in eu-central-1"]
    own = {**H100, "price_usd_per_hour": 26.5}
    assert money(yard(partial(make_pool, "p", own))).not_priced == ["4 x root disk of 200 GiB"]  # SageMaker's own rates


def block(ends: str, usd: float = 39.8) -> dict[str, Any]:
    return {**H200, "capacity": {**BLOCK, "ends": ends}, "price_usd_per_hour": usd}


def test_a_paid_capacity_block_is_idle_money_until_it_ends(yard: MakeYard) -> None:
    found = money(yard(partial(make_pool, "h200", block("2026-12-19T11:30:00Z")), "us-east-2"))
    pool = line(found, "h200")
    hours = 17 * 24 + 22 + 50 / 60  # until 40 minutes before its end, when the pool goes to zero nodes
    assert (pool.idle.high, pool.full.high) == (pytest.approx(318.4), pytest.approx(318.4))
    assert pool.month.high == pool.idle_month.high == pytest.approx(318.4 * hours)
    assert pool.note == (
        "a block is paid in advance; the month counts 431 h, to 2026-12-19T10:50Z, because its capacity block ends at 2026-12-19T11:30:00Z"
    )
    assert line(found, "disks").idle == exact(0)  # no machine of the block runs
    later = line(money(yard(partial(make_pool, "h200", block("2027-02-19T11:30:00Z")), "us-east-2")), "h200")
    assert later.note == "a block is paid in advance; ends 2027-02-19T11:30:00Z"
    assert later.month.high == pytest.approx(318.4 * 730)


@pytest.mark.parametrize(
    ("spec", "expires", "because"),
    [
        ({**L4, "min_nodes": 1}, "2026-11-30", "2026-11-30T00:00Z, because the yard expires on 2026-11-30"),
        (block("2026-11-19T11:30:00Z"), "never", "2026-11-19T10:50Z, because its capacity block ends at 2026-11-19T11:30:00Z"),
    ],
)
def test_an_ended_pool_costs_nothing_and_needs_no_quota(yard: MakeYard, spec: dict[str, Any], expires: str, because: str) -> None:
    made = yard(lambda: make_pool("old", spec, {**TAGS, "expires": expires}))
    found = money(made)
    (pool,) = found.lines  # no row of disks: there are none
    assert (pool.idle, pool.full, pool.month) == (exact(0), exact(0), exact(0))
    assert pool.note == f"closed since {because}"
    assert found.not_priced == []
    assert needs(made, NOW) == []


def test_a_month_ends_with_the_yard(yard: MakeYard) -> None:
    found = line(money(yard(partial(make_pool, "l4", {**L4, "min_nodes": 1}, {**TAGS, "expires": "2026-12-02"}))), "l4")
    assert (found.month.high, found.idle_month.high) == (pytest.approx(12 * 9.2032), pytest.approx(12 * 4.6016))
    assert found.note == "the month counts 12 h, to 2026-12-02T00:00Z, because the yard expires on 2026-12-02"


def test_a_free_yard_is_free(yard: MakeYard) -> None:
    found = money(yard(make_bucket))
    assert found.lines == []
    assert found.month == exact(0)
    assert found.hours is None


def test_a_pool_with_an_unknown_spec_has_unknown_cost(yard: MakeYard) -> None:
    def program() -> None:
        region = aws.get_region_output()
        make_pool("p", {**L4, "zone": region.apply(lambda found: f"{found.region}a")})
        make_budget(100)

    found = money(yard(program))
    assert line(found, "p").what == "pool with an unknown spec"
    assert found.month.high is None
    assert found.hours == Amount(low=0, high=None)


def test_a_raw_budget_resource_in_usd_counts(yard: MakeYard) -> None:
    def budget(unit: str) -> None:
        make_pool("p", {**L4, "min_nodes": 2})
        aws.budgets.Budget("b", budget_type="COST", time_unit="MONTHLY", limit_unit=unit, limit_amount="9000")

    found = money(yard(partial(budget, "USD")))
    assert found.budget == 9000
    assert found.hours is None  # everything is always on
    assert money(yard(partial(budget, "EUR"))).budget is None


@given(st.floats(1, 1e5), amounts, amounts)
def test_the_hours_that_fit_never_break_the_budget(budget: float, idle: Amount, running: Amount) -> None:
    found = hours_that_fit(budget, idle.times(HOURS_PER_MONTH), idle, idle + running)
    if found is None or idle.high is None or running.high is None:
        return
    most = idle.high * HOURS_PER_MONTH + found.low * running.high
    assert most <= max(budget, idle.high * HOURS_PER_MONTH) * (1 + 1e-6)
    assert found.high is None or found.low <= found.high * (1 + 1e-6)


def test_an_idle_cost_above_the_budget_leaves_no_hours() -> None:
    assert hours_that_fit(10, exact(730), exact(1), exact(2)) == exact(0)
    assert hours_that_fit(None, exact(730), exact(1), exact(2)) is None
    assert hours_that_fit(1000, exact(730), exact(1), exact(1)) is None
    assert hours_that_fit(1460, exact(730), exact(1), exact(2)) == exact(730)
