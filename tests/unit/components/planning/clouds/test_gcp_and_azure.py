"""The plan of raw resources of GCP and Azure: exposed and closed resources, and resources with and without a standing cost."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pulumi_azure_native as az
import pytest
from pulumi_gcp import billing, compute, kms, storage

from gpuyard.components.azure import GpuPool, Network
from gpuyard.components.planning.cost import money
from gpuyard.components.planning.policy import verdicts

from ..conftest import MakeYard

NOW = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)
METADATA = {"block-project-ssh-keys": "TRUE", "enable-oslogin": "TRUE"}
PEOPLE = "35.235.240.0/20"


def template(**options: Any) -> None:
    good = {
        "machine_type": "g2-standard-4",
        "disks": [{"source_image": "i"}],
        "network_interfaces": [{"subnetwork": "s"}],
        "metadata": METADATA,
    }
    compute.InstanceTemplate("t", **{**good, **options})


def bucket(**options: Any) -> None:
    good = {"location": "us-central1", "public_access_prevention": "enforced", "encryption": {"default_kms_key_name": "k"}}
    storage.Bucket("b", **{**good, **options})


def rule(**options: Any) -> None:
    compute.Firewall("r", network="n", **{"allows": [{"protocol": "tcp", "ports": ["22"]}], **options})


def account(**options: Any) -> None:
    good = {"resource_group_name": "g", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "allow_shared_key_access": False}
    az.storage.StorageAccount("a", **{**good, **options})


def machines(card: dict[str, Any], encrypted: bool = True) -> None:
    interface = {"name": "c", "primary": True, "ip_configurations": [{"name": "p", **card}]}
    profile = {"network_profile": {"network_interface_configurations": [interface]}, "security_profile": {"encryption_at_host": encrypted}}
    az.compute.VirtualMachineScaleSet("m", resource_group_name="g", virtual_machine_profile=profile)


def guard(source: str, direction: str = "Inbound") -> None:
    allowed = {"name": "in", "access": "Allow", "direction": direction, "priority": 100, "protocol": "*", "source_address_prefix": source}
    az.network.NetworkSecurityGroup("s", resource_group_name="g", security_rules=[allowed])


def subnet(**options: Any) -> None:
    az.network.Subnet("s", resource_group_name="g", virtual_network_name="v", address_prefix="10.0.0.0/24", **options)


BROKEN: list[tuple[str, Callable[[], Any], str]] = [
    ("no-public-address", lambda: template(network_interfaces=[{"subnetwork": "s", "access_configs": [{}]}]), "InstanceTemplate t, card 0"),
    ("no-public-address", lambda: storage.BucketACL("l", bucket="b", predefined_acl="publicRead"), "BucketACL l makes objects public"),
    (
        "no-public-address",
        lambda: storage.DefaultObjectACL("l", bucket="b", role_entities=["READER:allUsers"]),
        "DefaultObjectACL l makes objects public; remove allUsers",
    ),
    (
        "no-public-address",
        lambda: storage.BucketIAMMember("m", bucket="b", role="roles/storage.objectViewer", member="allUsers"),
        "BucketIAMMember m makes its bucket public",
    ),
    ("no-inbound", lambda: rule(source_ranges=["0.0.0.0/0"]), "rule r allows ingress from 0.0.0.0/0"),
    ("no-inbound", rule, "rule r allows ingress from everywhere"),
    ("no-inbound", lambda: rule(source_ranges=[PEOPLE], allows=[{"protocol": "tcp", "ports": ["8888"]}]), f"ingress from {PEOPLE}"),
    ("no-public-address", lambda: storage.BucketACL("a", bucket="b", predefined_acl="publicRead"), "BucketACL a makes objects public"),
    ("metadata-tokens", lambda: template(metadata={}), "InstanceTemplate t: set metadata"),
    ("metadata-tokens", lambda: template(metadata={**METADATA, "serial-port-enable": "TRUE"}), "the serial console is open"),
    ("no-public-address", subnet, "subnet s gives machines default outbound addresses"),
    ("no-public-address", lambda: machines({"public_ip_address_configuration": {"name": "x"}}), "scale set m gives"),
    ("no-inbound", lambda: guard("203.0.113.0/24"), "rule in of s allows ingress from 203.0.113.0/24"),
    ("encryption", lambda: machines({}, encrypted=False), "scale set m has no encryption at host; set encryption_at_host=True"),
    ("encryption", lambda: account(allow_shared_key_access=True), "storage account a accepts account keys"),
    ("encryption", lambda: account(enable_https_traffic_only=False), "account a accepts plain HTTP; set enable_https"),
]  # fmt: skip
CLOSED: list[Callable[[], Any]] = [
    template,
    bucket,
    lambda: rule(source_service_accounts=["a"]),
    lambda: rule(source_ranges=[PEOPLE]),
    lambda: rule(direction="EGRESS", destination_ranges=["0.0.0.0/0"]),
    lambda: subnet(default_outbound_access=False),
    lambda: machines({}),
    lambda: guard("VirtualNetwork"),
    lambda: guard("203.0.113.0/24", "Outbound"),
    account,
]


@pytest.mark.parametrize(("name", "program", "text"), BROKEN)
def test_an_exposed_resource_is_a_violation_that_names_it(yard: MakeYard, name: str, program: Callable[[], Any], text: str) -> None:
    (found,) = [verdict for verdict in verdicts(yard(program), NOW) if verdict.rule == name]
    assert found.outcome == "violated"
    assert any(text in finding for finding in found.findings), found.findings


@pytest.mark.parametrize("program", CLOSED)
def test_a_closed_resource_passes(yard: MakeYard, program: Callable[[], Any]) -> None:
    assert [verdict.findings for verdict in verdicts(yard(program), NOW) if verdict.outcome == "violated"] == []


def managed(kind: str) -> None:
    az.machinelearningservices.ManagedNetworkSettingsRule(
        "r", resource_group_name="g", workspace_name="w", properties={"type": kind, "destination": "host.example" if kind == "FQDN" else {}}
    )


def owned() -> None:
    key = kms.KeyRing("ring", location="us-central1")
    kms.CryptoKey("key", key_ring=key.id)
    router = compute.Router("router", network="n", region="us-central1")
    ranges = {"source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_IP_RANGES"}
    compute.RouterNat("nat", router=router.name, region="us-central1", nat_ip_allocate_option="AUTO_ONLY", **ranges)
    billing.Budget("b", billing_account="a", amount={"specified_amount": {"currency_code": "USD", "units": "200"}})


def test_standing_resources_of_gcp_are_counted_and_its_budget_is_read(yard: MakeYard) -> None:
    found = money(yard(owned), NOW)
    assert [line.what for line in found.lines] == ["1 KMS key", "1 Cloud NAT, 1 external address"]  # the key's region is not known
    assert found.budget == 200


@pytest.mark.parametrize(("kind", "stands"), [("FQDN", ["1 managed network firewall"]), ("PrivateEndpoint", ["1 private endpoint"])])
def test_managed_network_rules_count_the_resources_that_azure_creates(yard: MakeYard, kind: str, stands: list[str]) -> None:
    assert [line.what for line in money(yard(lambda: managed(kind)), NOW).lines] == stands


def pools(**lab: Any) -> None:
    network = Network("net", {"zones": ["1"]})
    GpuPool("lab", {"machine": "Standard_ND96isr_H100_v5", "zone": "1", "max_nodes": 2, "service": "vms", **lab}, network=network)
    GpuPool("h100", {"machine": "Standard_ND96isr_H100_v5", "max_nodes": 4, "service": "azureml"}, network=network)


@pytest.mark.parametrize(
    ("disk", "listed"),
    [
        ({}, ["4 x system disk of a cluster node"]),  # the other is on the machine itself, and free
        ({"disk_gib": 2000}, ["4 x system disk of a cluster node", "2 x root disk of 2000 GiB (Premium_LRS) in an unknown region"]),
    ],
)
def test_azure_disks_that_cost_are_listed(yard: MakeYard, disk: dict[str, Any], listed: list[str]) -> None:
    assert [line for line in money(yard(lambda: pools(**disk)), NOW).not_priced if "disk" in line] == listed
