"""Fabrics: how many networks, which MTU, the cards in their order, of every machine of the catalogue; addresses that never meet."""

from __future__ import annotations

import ipaddress
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import catalogue
from components.gcp.cidr import cidr_problems, fabric_cidrs, subnet_cidr, zone_problems
from components.gcp.fabric import FABRICS, cards, network_interfaces
from components.gcp.machines import fabric_of, family
from components.values import _PRIVATE
from tests.support.gcp_yard import FIREWALL, NETWORK, RESERVED, SUBNETWORK, TEMPLATE, VMS, pool

MACHINES = catalogue.table("gcp").machines
G, R = "GVNIC", "MRDMA"
CARDS = {
    "a3-highgpu-8g": [G] * 5,
    "a3-megagpu-8g": [G] * 9,
    "a3-ultragpu-8g": [G, G, *[R] * 8],
    "a4-highgpu-8g": [G, G, *[R] * 8],
    "a4x-highgpu-4g": [G, G, *[R] * 4],
    "a4x-maxgpu-4g-metal": ["IDPF", "IDPF", *[R] * 8],
}


@pytest.mark.parametrize("name", MACHINES)
def test_the_cards_in_their_order(name: str) -> None:
    row = MACHINES[name]
    found = cards(fabric_of(row))
    assert [card.kind for card in found] == CARDS.get(name, [G])
    assert len(found) == row.network_cards
    assert (fabric_of(row) is None) == (row.fast_nics == 0)


@pytest.mark.parametrize("name", CARDS)
def test_no_two_plain_cards_share_a_network_and_no_two_rdma_cards_a_subnet(name: str) -> None:
    found = cards(fabric_of(MACHINES[name]))
    plain = [card.network for card in found if card.kind == G]
    assert plain == list(range(-1, len(plain) - 1))
    rdma = [(card.network, card.subnet) for card in found if card.kind == R]
    assert len(set(rdma)) == (1 if name.endswith("metal") else len(rdma))  # the metal profile has one subnet
    assert len({network for network, _ in rdma}) <= 1


def test_the_golden_table() -> None:
    assert {name: tuple(row) for name, row in FABRICS.items()} == {
        "tcpx": (4, 8244, 0, 0),
        "tcpxo": (8, 8244, 0, 0),
        "roce": (1, 8896, 8, 0),
        "roce-4": (1, 8896, 4, 0),
        "roce-metal": (1, 8896, 0, 8),
    }


@pytest.mark.parametrize(
    ("machine", "networks", "subnets"),
    [("a3-highgpu-8g", 4, 4), ("a3-megagpu-8g", 8, 8), ("a3-ultragpu-8g", 2, 9), ("a4x-highgpu-4g", 2, 5), ("a4x-maxgpu-4g-metal", 2, 2)],
)
@pytest.mark.parametrize("preview", [False, True])
def test_what_a_pools_fabric_is(record: Any, machine: str, networks: int, subnets: int, preview: bool) -> None:
    recorded = record(pool({**VMS, "machine": machine, "capacity": RESERVED}), preview=preview)
    made = [request for request in recorded.resources.values() if request.type == NETWORK]
    assert len(made) == networks
    assert sum(request.type == SUBNETWORK for request in recorded.resources.values()) == subnets
    assert all(request.object["autoCreateSubnetworks"] is False for request in made)
    rules = [request for request in recorded.resources.values() if request.type == FIREWALL]
    rdma = sum(request.name == "pool-rdma" for request in made)
    assert len(rules) == 1 + networks - rdma  # RDMA's network takes no rules
    cards_given = recorded.inputs(TEMPLATE, "pool-template")["networkInterfaces"]
    assert [card["nicType"] for card in cards_given] == CARDS[machine]
    assert not [card for card in cards_given if "accessConfigs" in card or "ipv6AccessConfigs" in card]


def test_rdma_is_of_the_zones_profile(record: Any) -> None:
    recorded = record(pool({**VMS, "capacity": RESERVED}))
    network = recorded.inputs(NETWORK, "pool-rdma")
    assert network["networkProfile"] == "projects/acme-ml/global/networkProfiles/us-central1-a-vpc-roce"
    assert network["mtu"] == 8896
    given_to = recorded.inputs(TEMPLATE, "pool-template")["networkInterfaces"]
    assert given_to[0]["subnetwork"] == "projects/acme-ml/regions/us-central1/subnetworks/gpu"
    assert len({card["subnetwork"] for card in given_to}) == 10


def test_bare_machines_use_the_subnet_that_the_profile_makes(record: Any) -> None:
    recorded = record(pool({**VMS, "machine": "a4x-maxgpu-4g-metal", "capacity": RESERVED}))
    network = recorded.inputs(NETWORK, "pool-rdma")
    assert network["networkProfile"].endswith("us-central1-a-vpc-roce-metal")
    given_to = recorded.inputs(TEMPLATE, "pool-template")["networkInterfaces"]
    assert {card["stackType"] for card in given_to} == {"IPV6_ONLY"}
    assert {card["subnetwork"] for card in given_to[2:]} == {"projects/acme-ml/regions/us-central1/subnetworks/default-subnet-1-pool-rdma"}


def test_a_plain_machine_has_the_yards_card_alone() -> None:
    assert network_interfaces(None, "subnet", []) == [{"subnetwork": "subnet", "nic_type": "GVNIC"}]
    assert family(MACHINES["a3-highgpu-2g"]).disk == "pd-ssd"


@given(st.integers(1, 16))
def test_ranges_of_a_fabric_never_meet(number: int) -> None:
    found = [ipaddress.IPv4Network(text) for text in fabric_cidrs(number)]
    assert len(found) == number
    assert not [pair for pair in combinations(found, 2) if pair[0].overlaps(pair[1])]
    assert not [block for block in _PRIVATE for each in found if block.overlaps(each)]  # what a yard's network may be


@given(st.integers(12, 20), st.integers(0, 2**20 - 1))
def test_a_subnet_is_half_of_its_network(length: int, number: int) -> None:
    cidr = ipaddress.IPv4Network(((number << 12) & (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF, length))
    subnet = ipaddress.IPv4Network(subnet_cidr(str(cidr)))
    assert subnet.subnet_of(cidr)
    assert subnet.num_addresses * 2 == cidr.num_addresses


@pytest.mark.parametrize(("cidr", "fix"), [("10.0.0.0/8", "give 10.0.0.0/12"), ("10.0.0.0/24", "give 10.0.0.0/20")])
def test_networks_too_wide_or_narrow(cidr: str, fix: str) -> None:
    assert fix in cidr_problems(cidr)[0]
    with pytest.raises(ValueError, match="allowed: a network of /12 to /20"):
        subnet_cidr(cidr)


def test_zones() -> None:
    assert zone_problems(["us-central1-a", "us-central1-f"]) == []
    assert "give the zones of the pools" in zone_problems([])[0]
    assert "allowed: a region's name and a letter" in zone_problems(["us-central1a"])[0]
    assert "give us-central1-b" in zone_problems(["us-east4-b"], "us-central1")[0]
    assert "allowed: one region" in zone_problems(["us-east4-b", "us-central1-a"])[0]
