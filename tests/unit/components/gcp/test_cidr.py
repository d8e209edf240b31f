"""The plan of addresses: the subnet inside, room left, fabrics apart from each other and from any network, zones of one region."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gpuyard.components.gcp.cidr import DEFAULT_CIDR, cidr_problems, fabric_cidrs, region_of, spec_problems, subnet_cidr, zone_problems
from gpuyard.components.gcp.fabric import FABRICS
from gpuyard.components.spec import NetworkSpec, in_cloud

Net = ipaddress.IPv4Network


@st.composite
def networks(draw: st.DrawFn) -> str:
    base = Net(draw(st.sampled_from(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"])))
    length = draw(st.integers(max(12, base.prefixlen), 20))
    place = draw(st.integers(0, 2 ** (length - base.prefixlen) - 1))
    return str(Net((int(base.network_address) + (place << (32 - length)), length)))


@given(networks())
def test_the_subnet_is_the_first_half_and_the_other_stays_free(cidr: str) -> None:
    subnet = Net(subnet_cidr(cidr))
    assert subnet.subnet_of(Net(cidr))
    assert subnet.num_addresses * 2 == Net(cidr).num_addresses
    assert subnet.network_address == Net(cidr).network_address
    assert subnet.num_addresses - 4 >= 1000  # Google keeps four; a pool has at most 1,000 machines


@given(networks(), st.integers(1, 10))
def test_fabrics_are_apart_from_each_other_and_from_any_network(cidr: str, number: int) -> None:
    """Two cards of one machine cannot be in ranges that overlap."""
    assert NetworkSpec.model_validate({"cidr": cidr, "zones": ["us-central1-a"]}, context=in_cloud("gcp")).cidr == cidr
    found = [Net(text) for text in fabric_cidrs(number)]
    assert len(found) == number
    assert not any(one.overlaps(other) for one, other in itertools.combinations(found, 2))
    assert not any(one.overlaps(Net(cidr)) for one in found)
    assert all(one.num_addresses - 4 >= 1000 for one in found)
    assert fabric_cidrs(number) == fabric_cidrs(number + 1)[:number]


@pytest.mark.parametrize("cidr", ["198.18.0.0/20", "198.19.240.0/20", "198.16.0.0/12"])
def test_no_network_of_a_yard_can_be_where_the_fabrics_are(cidr: str) -> None:
    with pytest.raises(ValidationError, match="a private network"):
        NetworkSpec.model_validate({"cidr": cidr, "zones": ["us-central1-a"]}, context=in_cloud("gcp"))


def test_there_are_ranges_for_every_fabric() -> None:
    assert max(row.vpcs + row.rdma_subnets for row in FABRICS.values()) <= len(fabric_cidrs(32)) == 32


def test_the_default_network_in_plain_figures() -> None:
    assert subnet_cidr(DEFAULT_CIDR) == "10.0.0.0/17"
    assert fabric_cidrs(2) == ["198.18.0.0/20", "198.18.16.0/20"]


@pytest.mark.parametrize(
    ("cidr", "fix"),
    [("10.0.0.0/11", "give 10.0.0.0/12"), ("10.9.3.0/24", "give 10.9.0.0/20"), ("10.0.0.0/12", None), ("10.0.16.0/20", None)],
)
def test_networks_of_other_sizes_are_refused_with_one_that_fits(cidr: str, fix: str | None) -> None:
    found = cidr_problems(cidr)
    assert [line.endswith(fix) for line in found] == [True] if fix else found == []
    assert all(line.startswith(f"cidr: got '{cidr}', allowed: a network of /12 to /20; ") for line in found)
    if fix:
        assert cidr_problems(fix.split()[1]) == []
        with pytest.raises(ValueError, match="a network of /12 to /20"):
            subnet_cidr(cidr)


@pytest.mark.parametrize(
    ("zones", "region", "told"),
    [
        (["us-central1-a", "us-central1-f"], None, []),
        (["northamerica-northeast1-b"], "northamerica-northeast1", []),
        ([], "europe-west4", ["zones: got none, allowed: at least one; give the zones of the pools, such as [europe-west4-a]"]),
        (["us-central1"], None, ["a region's name and a letter, such as us-central1-a"]),
        (["us-east-1a"], None, ["got 'us-east-1a', allowed: a region's name and a letter"]),
        (["us-central1-a", "us-east4-b"], None, ["zones of us-central1, us-east4, allowed: one region; make a network for each"]),
        (["us-central1-a", "us-east4-b", "here"], "us-central1", ["give us-central1-b", "got 'here'"]),
    ],
)
def test_zones_that_cannot_share_a_subnet_are_named(zones: list[str], region: str | None, told: list[str]) -> None:
    found = zone_problems(zones, region)
    assert len(found) == len(told), found
    assert all(text in line for line, text in zip(found, told, strict=True)), found


def test_what_the_model_tells_itself_is_left_to_it() -> None:
    assert spec_problems({"cidr": "no network", "zones": ["us-central1-a"]}, "us-central1") == []
    assert spec_problems({"zones": "us-central1-a"}, None) == []
    assert len(spec_problems({"cidr": "10.0.0.0/24"}, "us-central1")) == 2


def test_a_zones_region() -> None:
    assert [region_of(zone) for zone in ("us-east4-b", "europe-west12-a")] == ["us-east4", "europe-west12"]
