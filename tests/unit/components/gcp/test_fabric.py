"""Fast NICs of each machine: their order, their networks, and the resources made for them."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any

import pytest

from gpuyard.components.gcp.fabric import FABRICS, cards, network_interfaces
from gpuyard.components.gcp.machines import fabric_of
from tests.helpers.gcp_sample_pools import MACHINES, RESERVED, VMS, of_type, pool
from tests.helpers.gcp_sample_yard import FIREWALL, TEMPLATE

NETWORK, SUBNET = "gcp:compute/network:Network", "gcp:compute/subnetwork:Subnetwork"
OWN, FIRST = ("GVNIC", -1, 0, None), ("GVNIC", 0, 0, None)
# Machine -> its NICs in order: kind, network (-1: the yard's own), subnet, stack. Source: blueprints of Google's cluster toolkit.
GOLDEN: dict[str, list[tuple[str, int, int, str | None]]] = {
    "a3-highgpu-8g": [OWN, *(("GVNIC", number, 0, None) for number in range(4))],
    "a3-megagpu-8g": [OWN, *(("GVNIC", number, 0, None) for number in range(8))],
    "a3-ultragpu-8g": [OWN, FIRST, *(("MRDMA", 1, number, None) for number in range(8))],
    "a4-highgpu-8g": [OWN, FIRST, *(("MRDMA", 1, number, None) for number in range(8))],
    "a4x-highgpu-4g": [OWN, FIRST, *(("MRDMA", 1, number, None) for number in range(4))],
    "a4x-maxgpu-4g-metal": [("IDPF", 0, 0, "IPV6_ONLY"), ("IDPF", 0, 1, "IPV6_ONLY"), *[("MRDMA", 1, 0, "IPV6_ONLY")] * 8],
}


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_the_nics_of_every_machine(name: str) -> None:
    row = MACHINES[name]
    found = cards(fabric_of(row))
    assert [tuple(card) for card in found] == GOLDEN.get(name, [OWN])
    assert len(found) == row.network_cards
    if row.fast_nics:
        fast = [card for card in found if card.kind == ("MRDMA" if "MRDMA" in {card.kind for card in found} else "GVNIC")]
        assert row.fast_nics == len([card for card in fast if card.network >= 0])


def test_the_golden_table() -> None:
    """Each row has networks, their MTU, RDMA subnets, and NICs in a subnet that the network profile makes."""
    assert {name: tuple(row) for name, row in FABRICS.items()} == {
        "tcpx": (4, 8244, 0, 0),
        "tcpxo": (8, 8244, 0, 0),
        "roce": (1, 8896, 8, 0),
        "roce-4": (1, 8896, 4, 0),
        "roce-metal": (1, 8896, 0, 8),
    }


@pytest.mark.parametrize("fabric", [None, *FABRICS])
def test_no_nic_has_an_external_address(fabric: str | None) -> None:
    """Google assigns one to a NIC with an empty access configuration."""
    made = [[f"{network}-{subnet}" for subnet in range(8)] for network in range(9)]
    for card in network_interfaces(fabric, "own", made):
        assert set(card) <= {"subnetwork", "nic_type", "stack_type"}
        assert card.get("stack_type") in (None, "IPV6_ONLY")


def reserved(machine: str, **more: Any) -> dict[str, Any]:
    return {**VMS, "machine": machine, "capacity": RESERVED, **more}


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize(("machine", "mtu", "vpcs"), [("a3-highgpu-8g", 8244, 4), ("a3-megagpu-8g", 8244, 8)])
def test_tcp_fabrics_are_networks_without_egress(record: Any, machine: str, mtu: int, vpcs: int, preview: bool) -> None:
    recorded = record(pool({**VMS, "machine": machine}), preview=preview)
    networks, subnets = of_type(recorded, NETWORK), of_type(recorded, SUBNET)
    assert set(networks) == set(subnets) == {f"pool-fabric-{number}" for number in range(vpcs)}
    closed = {"autoCreateSubnetworks": False, "deleteDefaultRoutesOnCreate": True, "mtu": mtu}
    assert all(network.items() >= closed.items() for network in networks.values())
    assert all((subnet["region"], subnet["privateIpGoogleAccess"]) == ("us-central1", True) for subnet in subnets.values())
    ranges = [ipaddress.ip_network(subnet["ipCidrRange"]) for subnet in subnets.values()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(ranges, 2))


@pytest.mark.parametrize(("machine", "subnets"), [("a3-ultragpu-8g", 8), ("a4-highgpu-8g", 8), ("a4x-highgpu-4g", 4)])
def test_rdma_is_one_network_with_the_profile_of_the_zone(record: Any, machine: str, subnets: int) -> None:
    recorded = record(pool(reserved(machine)))
    networks = of_type(recorded, NETWORK)
    profile = "projects/acme-ml/global/networkProfiles/us-central1-a-vpc-roce"
    assert networks["pool-rdma"] == {"autoCreateSubnetworks": False, "mtu": 8896, "networkProfile": profile}
    assert networks["pool-fabric-0"]["mtu"] == 8896
    made = of_type(recorded, SUBNET)
    assert set(made) == {"pool-fabric-0", *(f"pool-rdma-{number}" for number in range(subnets))}
    assert all(made[f"pool-rdma-{number}"]["network"].endswith("networks/pool-rdma") for number in range(subnets))
    assert {rule["network"].rpartition("/")[2] for rule in of_type(recorded, FIREWALL).values()} == {"net", "pool-fabric-0"}
    found = recorded.inputs(TEMPLATE, "pool-template")["networkInterfaces"]
    assert [card["nicType"] for card in found] == [kind for kind, *_ in GOLDEN[machine]]
    assert [card["subnetwork"].rpartition("/")[2] for card in found[1:]] == ["pool-fabric-0", *(f"pool-rdma-{n}" for n in range(subnets))]


@pytest.mark.parametrize("preview", [False, True])
def test_bare_metal_machines_have_only_networks_of_their_own(record: Any, preview: bool) -> None:
    """Their RDMA network profile makes its subnet, and no other subnet can be made."""
    recorded = record(pool(reserved("a4x-maxgpu-4g-metal")), preview=preview)
    made = of_type(recorded, SUBNET)
    assert set(made) == {"pool-fabric-0-0", "pool-fabric-0-1"}
    assert all((subnet["stackType"], subnet["ipv6AccessType"]) == ("IPV6_ONLY", "INTERNAL") for subnet in made.values())
    if not preview:
        assert of_type(recorded, NETWORK)["pool-rdma"]["networkProfile"].endswith("/us-central1-a-vpc-roce-metal")
        cards_there = recorded.inputs(TEMPLATE, "pool-template")["networkInterfaces"]
        theirs = "projects/acme-ml/regions/us-central1/subnetworks/default-subnet-1-pool-rdma"
        assert {card["subnetwork"] for card in cards_there[2:]} == {theirs}


def test_each_fabric_network_accepts_only_machines_of_the_pool(record: Any) -> None:
    recorded = record(pool({**VMS, "machine": "a3-megagpu-8g"}))
    rules = {name: rule for name, rule in of_type(recorded, FIREWALL).items() if "fabric" in name}
    assert len(rules) == 8
    for rule in rules.values():
        assert rule["sourceServiceAccounts"] == rule["targetServiceAccounts"] != []
        assert not {"sourceRanges", "sourceTags"} & set(rule)


def test_two_pools_share_no_network(record: Any) -> None:
    recorded = record(lambda: [pool({**VMS, "machine": "a3-ultragpu-8g", "capacity": "spot"}, name=name)() for name in ("a", "b")])
    assert {name.partition("-")[0] for name in of_type(recorded, NETWORK)} == {"a", "b"}
    assert len(of_type(recorded, NETWORK)) == 4


def test_a_machine_with_one_nic_needs_no_fabric_network(record: Any) -> None:
    recorded = record(pool({**VMS, "machine": "g2-standard-48"}))
    assert of_type(recorded, NETWORK) == of_type(recorded, SUBNET) == {}
    assert recorded.inputs(TEMPLATE, "pool-template")["networkInterfaces"] == [
        {"nicType": "GVNIC", "subnetwork": "projects/acme-ml/regions/us-central1/subnetworks/net"}
    ]
