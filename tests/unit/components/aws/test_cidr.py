"""Planned subnets are inside the network, do not overlap, and do not move when a zone is added."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.aws.cidr import cidr_problems, plan_subnets, zone_problems
from gpuyard.components.validation.network import DEFAULT_CIDR

LETTERS = "abcdefg"
Net = ipaddress.IPv4Network


@st.composite
def networks(draw: st.DrawFn) -> str:
    length = draw(st.integers(16, 20))
    base = draw(st.sampled_from(["10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10"]))
    inside = list(Net(base).subnets(new_prefix=length))
    return str(draw(st.sampled_from(inside)))


zones = st.lists(st.sampled_from([f"eu-west-1{letter}" for letter in LETTERS]), min_size=1, unique=True)


@given(networks(), zones)
def test_subnets_are_inside_the_network_and_do_not_overlap(cidr: str, zone_names: list[str]) -> None:
    plan = plan_subnets(cidr, zone_names)
    assert list(plan.private) == list(plan.public) == zone_names
    subnets = [Net(subnet) for subnet in (*plan.private.values(), *plan.public.values())]
    assert all(subnet.subnet_of(Net(cidr)) for subnet in subnets)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(subnets, 2))
    assert all(16 <= subnet.prefixlen <= 28 for subnet in subnets)  # the sizes that AWS allows
    assert all(Net(subnet).num_addresses * 8 == Net(cidr).num_addresses for subnet in plan.private.values())
    assert all(Net(subnet).num_addresses == 16 for subnet in plan.public.values())
    free = Net(cidr).num_addresses // 8 - sum(Net(subnet).num_addresses for subnet in plan.public.values())
    assert free >= 512 - 7 * 16


@given(networks(), zones, zones)
def test_adding_a_zone_moves_no_other_subnet(cidr: str, before: list[str], more: list[str]) -> None:
    old, new = plan_subnets(cidr, before), plan_subnets(cidr, list(dict.fromkeys([*more, *before])))
    assert old.private.items() <= new.private.items()
    assert old.public.items() <= new.public.items()


def test_subnets_of_the_default_network() -> None:
    plan = plan_subnets(DEFAULT_CIDR, ["us-east-1a", "us-east-1g"])
    assert plan.private == {"us-east-1a": "10.0.0.0/19", "us-east-1g": "10.0.192.0/19"}
    assert plan.public == {"us-east-1a": "10.0.224.0/28", "us-east-1g": "10.0.224.96/28"}


@pytest.mark.parametrize(
    ("cidr", "fix"),
    [("10.0.0.0/15", "write 10.0.0.0/16"), ("10.9.3.0/24", "write 10.9.0.0/20"), ("10.0.0.0/16", None), ("10.0.16.0/20", None)],
)
def test_a_network_of_the_wrong_size_is_refused_and_a_valid_one_suggested(cidr: str, fix: str | None) -> None:
    found = cidr_problems(cidr)
    assert [str(line).endswith(fix) for line in found] == [True] if fix else found == []
    assert all(str(line).startswith(f"cidr: wrong network size, got '{cidr}', allowed: a network of /16 to /20; ") for line in found)


@pytest.mark.parametrize(
    ("zone_names", "region", "expected"),
    [
        (["us-east-1a", "us-east-1f"], None, []),
        (["us-gov-west-1b"], "us-gov-west-1", []),
        ([], "eu-north-1", ["zones: no zone, got none, allowed: at least one; list the zones of the pools, such as [eu-north-1a]"]),
        (["us-east-1-atl-2a"], None, ["Network.adopt"]),
        (["us-east-1-wl1-bos-wlz-1"], None, ["Network.adopt"]),
        (["use1-az4"], None, ["a region and a letter, such as us-east-1a"]),
        (["us-east-1h"], None, ["letters a to g"]),
        (["us-east-1a", "us-west-2a"], None, ["the zones are in several regions, got us-east-1, us-west-2, allowed: one region"]),
        (["us-east-1a", "us-west-2b", "here"], "us-east-1", ["write us-east-1b", "got 'here'"]),
    ],
)
def test_zones_without_a_planned_subnet_are_reported(zone_names: list[str], region: str | None, expected: list[str]) -> None:
    found = zone_problems(zone_names, region)
    assert len(found) == len(expected), found
    assert all(text in str(line) for line, text in zip(found, expected, strict=True)), found


def test_planning_an_invalid_network_raises() -> None:
    with pytest.raises(ValueError, match=r"a network of /16 to /20.*at least one"):
        plan_subnets("10.0.0.0/24", [])
