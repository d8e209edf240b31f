"""Ranges of the subnet and of the fabric networks: inside the network, without overlaps. Zones of one region."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gpuyard.components.gcp.cidr import cidr_problems, fabric_cidrs, region_of, spec_problems, subnet_cidr, zone_problems
from gpuyard.components.gcp.fabric import FABRICS
from gpuyard.components.spec import NetworkSpec, in_cloud
from gpuyard.components.validation.network import DEFAULT_CIDR

Net = ipaddress.IPv4Network


@st.composite
def networks(draw: st.DrawFn) -> str:
    base = Net(draw(st.sampled_from(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"])))
    length = draw(st.integers(max(12, base.prefixlen), 20))
    place = draw(st.integers(0, 2 ** (length - base.prefixlen) - 1))
    return str(Net((int(base.network_address) + (place << (32 - length)), length)))


@given(networks())
def test_the_subnet_is_the_first_half_of_the_network(cidr: str) -> None:
    subnet = Net(subnet_cidr(cidr))
    assert subnet.subnet_of(Net(cidr))
    assert subnet.num_addresses * 2 == Net(cidr).num_addresses
    assert subnet.network_address == Net(cidr).network_address
    assert subnet.num_addresses - 4 >= 1000  # Google reserves 4 addresses; a pool has at most 1,000 machines


@given(networks(), st.integers(1, 10))
def test_fabric_ranges_overlap_neither_each_other_nor_a_network(cidr: str, number: int) -> None:
    """The NICs of one machine cannot be in ranges that overlap."""
    assert NetworkSpec.model_validate({"cidr": cidr, "zones": ["us-central1-a"]}, context=in_cloud("gcp")).cidr == cidr
    found = [Net(text) for text in fabric_cidrs(number)]
    assert len(found) == number
    assert not any(one.overlaps(other) for one, other in itertools.combinations(found, 2))
    assert not any(one.overlaps(Net(cidr)) for one in found)
    assert all(one.num_addresses - 4 >= 1000 for one in found)
    assert fabric_cidrs(number) == fabric_cidrs(number + 1)[:number]


@pytest.mark.parametrize("cidr", ["198.18.0.0/20", "198.19.240.0/20", "198.16.0.0/12"])
def test_no_yard_network_can_use_the_block_of_the_fabric_networks(cidr: str) -> None:
    with pytest.raises(ValidationError, match="a private network"):
        NetworkSpec.model_validate({"cidr": cidr, "zones": ["us-central1-a"]}, context=in_cloud("gcp"))


def test_there_are_enough_ranges_for_every_fabric() -> None:
    assert max(row.vpcs + row.rdma_subnets for row in FABRICS.values()) <= len(fabric_cidrs(32)) == 32


def test_ranges_of_the_default_network() -> None:
    assert subnet_cidr(DEFAULT_CIDR) == "10.0.0.0/17"
    assert fabric_cidrs(2) == ["198.18.0.0/20", "198.18.16.0/20"]


@pytest.mark.parametrize(
    ("cidr", "fix"),
    [("10.0.0.0/11", "write 10.0.0.0/12"), ("10.9.3.0/24", "write 10.9.0.0/20"), ("10.0.0.0/12", None), ("10.0.16.0/20", None)],
)
def test_networks_of_other_sizes_are_refused_with_a_size_that_fits(cidr: str, fix: str | None) -> None:
    found = cidr_problems(cidr)
    assert [str(line).endswith(fix) for line in found] == [True] if fix else found == []
    assert all(str(line).startswith(f"cidr: wrong network size, got '{cidr}', allowed: a network of /12 to /20; ") for line in found)
    if fix:
        assert cidr_problems(fix.split()[1]) == []
        with pytest.raises(ValueError, match="a network of /12 to /20"):
            subnet_cidr(cidr)


@pytest.mark.parametrize(
    ("zones", "region", "expected"),
    [
        (["us-central1-a", "us-central1-f"], None, []),
        (["northamerica-northeast1-b"], "northamerica-northeast1", []),
        ([], "europe-west4", ["zones: no zone, got none, allowed: at least one; list the zones of the pools, such as [europe-west4-a]"]),
        (["us-central1"], None, ["a region, a hyphen and a letter, such as us-central1-a"]),
        (["us-east-1a"], None, ["not a zone, got 'us-east-1a', allowed: a region, a hyphen and a letter"]),
        (
            ["us-central1-a", "us-east4-b"],
            None,
            ["the zones are in several regions, got us-central1, us-east4, allowed: one region; declare a network for each region"],
        ),
        (["us-central1-a", "us-east4-b", "here"], "us-central1", ["write us-central1-b", "got 'here'"]),
    ],
)
def test_wrong_zones_are_reported(zones: list[str], region: str | None, expected: list[str]) -> None:
    found = zone_problems(zones, region)
    assert len(found) == len(expected), found
    assert all(text in str(line) for line, text in zip(found, expected, strict=True)), found


def test_errors_that_network_spec_reports_are_not_repeated() -> None:
    assert spec_problems({"cidr": "no network", "zones": ["us-central1-a"]}, "us-central1") == []
    assert spec_problems({"zones": "us-central1-a"}, None) == []
    assert len(spec_problems({"cidr": "10.0.0.0/24"}, "us-central1")) == 2


def test_region_of_a_zone() -> None:
    assert [region_of(zone) for zone in ("us-east4-b", "europe-west12-a")] == ["us-east4", "europe-west12"]
