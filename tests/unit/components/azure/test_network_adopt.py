"""An existing network: it is used and never changed, and nodes in it get a security group of their own."""

from __future__ import annotations

from typing import Any

import pytest

from gpuyard.components.azure import Bucket, GpuPool, JobService, Network
from tests.helpers.azure_sample_yard import CLUSTER, SUBNET, TAGS, VMS, VNET, declare, kinds, token


@pytest.mark.parametrize("given", [None, {"blob": f"{VNET}/blob", "api": f"{VNET}/api"}])
def test_an_adopted_network_is_not_changed(record: Any, given: dict[str, str] | None) -> None:
    def program() -> None:
        network = Network.adopt("hub", vpc_id=VNET, subnet_ids={"1": SUBNET}, private_zones=given, tags=TAGS)
        pools = [GpuPool(name, spec, network=network, tags=TAGS) for name, spec in (("h100", CLUSTER), ("lab", VMS))]
        JobService("train", pools=pools, writes=[Bucket("runs", tags=TAGS)], registry="premium", tags=TAGS)

    recorded = record(program)
    assert not [line for line in kinds(recorded) if line.startswith(("PrivateZone", "VirtualNetworkLink", "Subnet"))]
    named = {line.partition(" ")[2] for line in kinds(recorded) if line.startswith("PrivateDnsZoneGroup")}
    assert named == ({"hub-runs-blob", "train-hub-workspace", "train-hub-workspace-storage-blob"} if given else set())


def test_nodes_in_an_adopted_network_get_their_own_security_group(record: Any) -> None:
    def program() -> None:
        GpuPool("lab", VMS, network=Network.adopt("hub", vpc_id=VNET, subnet_ids={"1": SUBNET}, tags=TAGS), tags=TAGS)

    recorded = record(program)
    machines = recorded.inputs(token("compute:VirtualMachineScaleSet"), "lab-machines")["virtualMachineProfile"]
    [card] = machines["networkProfile"]["networkInterfaceConfigurations"]
    assert card["networkSecurityGroup"]["id"].endswith("/NetworkSecurityGroup/hub-nodes")
    rules = recorded.inputs(token("network:NetworkSecurityGroup"), "hub-nodes")["securityRules"]
    assert [(rule["name"], rule["access"]) for rule in rules] == [
        ("nodes-in", "Allow"),
        ("nodes-out", "Allow"),
        ("out-anywhere", "Allow"),
        ("out-names", "Allow"),
        ("deny-inbound", "Deny"),
        ("deny-outbound", "Deny"),
    ]
    names = rules[3]
    assert (names["direction"], names["protocol"], names["destinationPortRange"]) == ("Outbound", "*", "53")  # UDP and TCP
    assert names["destinationAddressPrefix"] == "VirtualNetwork"  # never to servers on the internet
    assert [group["id"].rpartition("/")[2] for group in names["sourceApplicationSecurityGroups"]] == ["hub-nodes"]
    made = record(lambda: declare(pools={"lab": VMS}, submitters=()))
    machines = made.inputs(token("compute:VirtualMachineScaleSet"), "lab-machines")["virtualMachineProfile"]
    assert (
        "networkSecurityGroup" not in machines["networkProfile"]["networkInterfaceConfigurations"][0]
    )  # its subnet has the security group


def test_an_adopted_network_gets_endpoints_and_no_dns_zones(record: Any) -> None:
    def program() -> None:
        network = Network.adopt("hub", vpc_id=VNET, subnet_ids={"1": SUBNET}, tags=TAGS)
        pool = GpuPool("lab", VMS, network=network, tags=TAGS)
        JobService("train", pools=[pool], writes=[Bucket("runs", tags=TAGS)], tags=TAGS)

    recorded = record(program)
    assert recorded.inputs(token("network:PrivateEndpoint"), "hub-runs-blob")["subnet"] == {"id": SUBNET}
    assert not [line for line in kinds(recorded) if line.startswith(("PrivateDnsZoneGroup", "PrivateZone", "Subnet", "VirtualNetwork"))]
