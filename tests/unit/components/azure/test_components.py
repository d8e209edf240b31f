"""Azure's network, bucket, key, pool and budget under the recording monitor, in preview and update, and the inputs that they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from gpuyard.components.azure import Bucket, Budget, EncryptionKey, GpuPool, Network
from gpuyard.components.azure.names import scale_set_name
from tests.helpers.azure_sample_yard import DATA, RESERVED, SUBNET, TAGS, VMS, VNET, kinds, token

SCALE_SET, SUBNET_TYPE = token("compute:VirtualMachineScaleSet"), token("network:Subnet")
MISSING: Any = None
HPC = {"publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2204", "version": "latest"}


def network(egress: str = "nat", **more: Any) -> Network:
    return Network("net", {"zones": ["1", "3"], "egress": egress}, tags=TAGS, **more)


@pytest.mark.parametrize("preview", [False, True])
def test_children_of_a_network(record: Any, preview: bool) -> None:
    recorded = record(network, preview=preview)
    assert kinds(recorded) == [
        "ApplicationSecurityGroup net-nodes",
        "NatGateway net-nat",
        "Network net",
        "NetworkSecurityGroup net-endpoints",
        "NetworkSecurityGroup net-nodes",
        "PrivateZone net-blob",
        "PrivateZone net-dfs",
        "PublicIPAddress net-nat",
        "ResourceGroup net-group",
        "Subnet net-endpoints",
        "Subnet net-nodes",
        "VirtualNetwork net-network",
        "VirtualNetworkLink net-blob",
        "VirtualNetworkLink net-dfs",
    ]
    assert set(recorded.outputs("Network")) == {"id", "subnet_ids", "security_group_id"}


@pytest.mark.parametrize(
    ("egress", "out"), [("nat", ["internet"]), ("endpoints", ["azurecontainerregistry", "azurekeyvault", "storage"]), ("none", [])]
)
def test_security_rules_by_egress(record: Any, egress: str, out: list[str]) -> None:
    recorded = record(lambda: network(egress))
    rules = recorded.inputs(token("network:NetworkSecurityGroup"), "net-nodes")["securityRules"]
    assert [rule["name"] for rule in rules] == [
        *("nodes-in", "nodes-out", "out-endpoints"),
        *(f"out-{tag}" for tag in out),
        *("deny-inbound", "deny-outbound"),
    ]
    assert [rule["priority"] for rule in rules][-2:] == [4096, 4096]
    inbound = [rule for rule in rules if rule["direction"] == "Inbound" and rule["access"] == "Allow"]
    assert all("sourceAddressPrefix" not in rule and rule["sourceApplicationSecurityGroups"] for rule in inbound)
    nodes, endpoints = (recorded.inputs(SUBNET_TYPE, name) for name in ("net-nodes", "net-endpoints"))
    assert nodes["defaultOutboundAccess"] is endpoints["defaultOutboundAccess"] is False
    assert ("natGateway" in nodes) == (egress == "nat")
    assert ("serviceEndpoints" in nodes) == (egress == "endpoints")
    assert endpoints["privateEndpointNetworkPolicies"] == "Enabled"
    assert any(urn.endswith("::net-nodes") for urn in recorded.one(SUBNET_TYPE, "net-endpoints").dependencies)
    inbound_https, deny, _ = recorded.inputs(token("network:NetworkSecurityGroup"), "net-endpoints")["securityRules"]
    assert (inbound_https["sourceAddressPrefix"], inbound_https["destinationAddressPrefix"]) == (
        "VirtualNetwork",
        endpoints["addressPrefix"],
    )
    assert (inbound_https["protocol"], inbound_https["destinationPortRange"], deny["name"]) == ("Tcp", "443", "deny-inbound")


def test_further_ports_of_the_internet(record: Any) -> None:
    recorded = record(lambda: Network("net", {"zones": ["1"], "egress_ports": [22]}, tags=TAGS))
    rules = recorded.inputs("azure-native:network:NetworkSecurityGroup", "net-nodes")["securityRules"]
    [ssh] = [rule for rule in rules if rule["destinationPortRange"] == "22"]
    assert (ssh["name"], ssh["direction"], ssh["access"], ssh["destinationAddressPrefix"]) == (
        "out-port-22",
        "Outbound",
        "Allow",
        "Internet",
    )


def test_an_existing_resource_group_is_used(record: Any) -> None:
    recorded = record(lambda: network(resource_group="acme-rg"))
    assert "ResourceGroup net-group" not in kinds(recorded)
    assert recorded.inputs(SUBNET_TYPE, "net-nodes")["resourceGroupName"] == "acme-rg"
    assert recorded.inputs(SUBNET_TYPE, "net-nodes")["virtualNetworkName"]


@pytest.mark.parametrize("preview", [False, True])
def test_children_of_a_bucket(record: Any, preview: bool) -> None:
    def program() -> None:
        bucket = Bucket("runs", {"open_to": ["203.0.112.0/24"]}, tags=TAGS)
        pulumi.export("known", [bucket.url, bucket.name, bucket.id])

    recorded = record(program, preview=preview)
    assert kinds(recorded) == [
        "BlobContainer runs-container",
        "BlobServiceProperties runs-blobs",
        "Bucket runs",
        "ManagementPolicy runs-lifecycle",
        "ResourceGroup runs-group",
        "StorageAccount runs-account",
    ]
    assert recorded.unknown == ({"known"} if preview else set())
    if preview:
        return
    account = recorded.inputs(token("storage:StorageAccount"), "runs-account")
    assert recorded.exports["known"][0] == f"abfs://runs@{account['accountName']}.dfs.core.windows.net"
    assert account["networkRuleSet"]["ipRules"] == [{"action": "Allow", "iPAddressOrRange": "203.0.112.0/24"}]
    assert account["isHnsEnabled"] is False
    kept = {"StorageAccount": ("runs-account", "accountName"), "BlobContainer": ("runs-container", "containerName")}
    for kind, (name, key) in kept.items():  # names follow the bucket's: an alias must not replace what holds the data
        assert list(recorded.one(token(f"storage:{kind}"), name).ignoreChanges) == [key]
    assert account["tags"] == {**TAGS, "stack": "gpuyard/local"}
    assert recorded.inputs(token("storage:BlobServiceProperties"), "runs-blobs")["isVersioningEnabled"] is True


def test_a_bucket_is_retained_unless_on_destroy_is_delete(record: Any) -> None:
    assert record(lambda: Bucket("runs")).one("gpuyard-azure:index:Bucket", "runs").retainOnDelete
    assert not record(lambda: Bucket("runs", {"on_destroy": "delete"})).one("gpuyard-azure:index:Bucket", "runs").retainOnDelete


@pytest.mark.parametrize("preview", [False, True])
def test_a_customer_managed_key_is_used_by_its_own_identity(record: Any, preview: bool) -> None:
    recorded = record(lambda: Bucket("runs", key=EncryptionKey("key", on_destroy="delete"), namespace="hierarchical"), preview=preview)
    account = recorded.inputs(token("storage:StorageAccount"), "runs-account")
    assert account["encryption"]["keySource"] == "Microsoft.Keyvault"
    assert "keyVersion" not in account["encryption"]["keyVaultProperties"]
    assert account["identity"]["type"] == "UserAssigned"
    assert recorded.inputs(token("storage:BlobServiceProperties"), "runs-blobs")["isVersioningEnabled"] is False
    vault = recorded.inputs(token("keyvault:Vault"), "key-vault")["properties"]
    assert (vault["enableRbacAuthorization"], vault["enablePurgeProtection"]) == (True, True)
    assert [line for line in kinds(recorded) if line.startswith("RoleAssignment")] == ["RoleAssignment key-user-may-vault"]


def test_the_golden_scale_set(record: Any) -> None:
    spec = {**VMS, "min_nodes": 1}
    given = record(lambda: GpuPool("lab", spec, network=network(), tags=TAGS)).inputs(SCALE_SET, "lab-machines")
    profile = given.pop("virtualMachineProfile")
    assert profile["osProfile"].pop("customData")
    assert profile["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"] is True
    [card] = profile["networkProfile"]["networkInterfaceConfigurations"]
    assert "publicIPAddressConfiguration" not in card["ipConfigurations"][0]
    assert len(card["ipConfigurations"][0]["applicationSecurityGroups"]) == 1
    assert profile["securityProfile"]["encryptionAtHost"] is True
    assert profile["storageProfile"]["imageReference"] == HPC
    assert profile["scheduledEventsProfile"]["terminateNotificationProfile"] == {"enable": True, "notBeforeTimeout": "PT5M"}
    group = given.pop("resourceGroupName")
    assert group == "net-group"
    assert given.pop("identity")["type"] == "UserAssigned"
    assert given == {
        "automaticRepairsPolicy": {"enabled": True, "gracePeriod": "PT10M", "repairAction": "Replace"},
        "orchestrationMode": "Uniform",
        "overprovision": False,
        "platformFaultDomainCount": 1,
        "singlePlacementGroup": True,
        "sku": {"capacity": 1, "name": "Standard_ND96isr_H100_v5"},
        "tags": {**TAGS, "stack": "gpuyard/local"},
        "upgradePolicy": {"mode": "Manual"},
        "vmScaleSetName": scale_set_name("gpuyard/local", "lab"),
        "zones": ["1"],
    }


@pytest.mark.parametrize("preview", [False, True])
def test_children_of_pools(record: Any, preview: bool) -> None:
    def program() -> None:
        net = network()
        pools = [
            GpuPool("spot", {**VMS, "capacity": "spot"}, network=net, tags=TAGS),
            GpuPool("flex", {**VMS, "machine": "Standard_NC24ads_A100_v4"}, network=net, orchestration="flexible", tags=TAGS),
            GpuPool("held", {**VMS, "machine": "Standard_NC96ads_A100_v4", "capacity": RESERVED}, network=net, tags=TAGS),
            GpuPool("ml", {"machine": "Standard_ND96isr_H200_v5", "service": "azureml", "max_nodes": 2}, network=net, tags=TAGS),
        ]
        pulumi.export("scale", pools[0].scale_command)
        assert pools[3].scale_command is None

    recorded = record(program, preview=preview)
    pools = [line for line in kinds(recorded) if not line.partition(" ")[2].startswith("net")]
    every = ("GpuPool {}", "Identity {}-node", "UserAssignedIdentity {}-node-identity")
    machines = (
        "ActivityLogAlert {}-repairs",
        "AutoscaleSetting {}-bounds",
        "RoleAssignment {}-may-count-replacements",
        "RoleAssignment {}-may-stop-replacements",
        "RoleDefinition {}-stops-repairs",
        "VirtualMachineScaleSet {}-machines",
        "Workflow {}-replacements",
    )
    expected = {"ml": every} | dict.fromkeys(("spot", "flex", "held"), (*every, *machines))
    assert pools == sorted(line.format(pool) for pool, lines in expected.items() for line in lines)
    held = recorded.inputs(SCALE_SET, "held-machines")
    assert held["singlePlacementGroup"] is False  # Azure requires it with a reservation
    assert held["virtualMachineProfile"]["capacityReservation"] == {"capacityReservationGroup": {"id": RESERVED["reservation"]}}
    flexible = recorded.inputs(SCALE_SET, "flex-machines")
    assert "singlePlacementGroup" not in flexible
    assert "upgradePolicy" not in flexible
    assert recorded.inputs(SCALE_SET, "spot-machines")["virtualMachineProfile"]["billingProfile"] == {"maxPrice": -1}
    if not preview:
        assert (
            recorded.exports["scale"]
            == f"az vmss scale --resource-group net-group --name {scale_set_name('gpuyard/local', 'spot')} --new-capacity 4"
        )


@pytest.mark.parametrize("preview", [False, True])
def test_a_budget_filters_by_stack_or_resource_group(record: Any, preview: bool) -> None:
    def program() -> None:
        Budget("budget", owner="ml@acme.io", usd_per_month=1500, tags=TAGS)
        Budget("group", owner="ml@acme.io", usd_per_month=10, alert_at_percent=[90], resource_group="rg")

    recorded = record(program, preview=preview)
    budget, group = (recorded.inputs(token("consumption:Budget"), name) for name in ("budget-budget", "group-budget"))
    assert budget["filter"] == {"tags": {"name": "stack", "operator": "In", "values": ["gpuyard/local"]}}
    assert set(budget["notifications"]) == {"actual-50", "actual-80", "actual-100", "forecast-100"}
    assert all(each["contactEmails"] == ["ml@acme.io"] for each in budget["notifications"].values())
    assert "filter" not in group
    assert budget["timePeriod"]["startDate"].endswith("-01T00:00:00Z")
    assert list(recorded.one(token("consumption:Budget"), "budget-budget").ignoreChanges) == ["timePeriod"]
    if not preview:
        assert (budget["scope"], group["scope"]) == ("/subscriptions/sub", "/subscriptions/sub/resourceGroups/rg")


def pool(**more: Any) -> Callable[[], Any]:
    return lambda: GpuPool(
        "p", {**VMS, **more.pop("spec", {})}, network=Network.adopt("hub", vpc_id=VNET, subnet_ids={"1": SUBNET}), **more
    )


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            lambda: Network("net", {"zones": ["eastus-1"], "cidr": "10.0.0.0/28"}),
            ["Network net: 2 problems", "zones: not the number of a zone, got", "cidr: wrong network size, got"],
        ),
        (
            lambda: Network.adopt("n", vpc_id="vnet", subnet_ids={"1": "s"}),
            ["2 problems", "vpc_id: not a resource id, got 'vnet'", "subnet_ids.1: not a resource id, got 's'"],
        ),
        (lambda: Network.adopt("n", vpc_id=VNET, subnet_ids={}), ["subnet_ids: no subnet, got none"]),
        (
            lambda: Network.adopt("n", vpc_id=VNET, subnet_ids={"1": SUBNET}, private_zones={"file": f"{VNET}/file"}),
            ["private_zones: unknown key, got 'file', allowed: blob, dfs, registry, api, notebooks"],
        ),
        (lambda: Bucket("runs", {"open_to": ["10.0.0.1", "internet"]}), ["open_to", "a public IPv4 address"]),
        (lambda: Bucket("runs", {"open_to": ["1.2.3.4", "internet"]}), ["open_to", "internet alone"]),
        (
            lambda: Bucket("R", namespace="deep"),  # type: ignore[arg-type]
            ["2 problems", "name: not a valid name, got 'R'", "namespace: unknown kind of namespace, got 'deep'"],
        ),
        (lambda: Bucket.adopt("d", bucket="acme"), ["existing: not the id of a container, got 'acme'"]),
        (lambda: Bucket.adopt("d", bucket=pulumi.Output.from_input(MISSING)), ["existing: not the id of a container, got nothing"]),
        (lambda: Bucket("b", tags={"stack": "x", "a<b": "1"}), ["2 problems", "'stack'", "'a<b'"]),
        (lambda: EncryptionKey("k", on_destroy="burn"), ["on_destroy: wrong value, got 'burn'"]),  # type: ignore[arg-type]
        (pool(spec={"zone": "2"}), ["zone: network hub has no subnet in this zone, got '2', allowed: 1"]),
        (pool(orchestration="flexible"), ["orchestration: InfiniBand needs one uniform scale set, got 'flexible', allowed: uniform"]),
        (pool(spec={"machine": "Standard_ND96is_H100_v5"}), ["allowed: Standard_ND96isr_H100_v5 for several nodes"]),
        (pool(spec={"max_nodes": 101}), ["max_nodes: InfiniBand does not cross placement groups, got 101, allowed: 1 to 100"]),
        (pool(spec={"machine": "Standard_ND128isr_NDR_GB200_v6"}), ["image: Microsoft has no image for arm64 machines, got nothing"]),
        (
            pool(spec={"capacity": {"mode": "reservation", "reservation": "mine"}}),
            ["capacity.reservation: not the id of a capacity reservation group, got 'mine'"],
        ),
        (
            pool(ssh_public_key="-----BEGIN", tags={"expires": "soon"}),
            ["2 problems", "ssh_public_key", "tags.expires: not a date, got 'soon'"],
        ),
        (
            pool(spec={"service": "azureml", "zone": None, "image": "x", "disk_gib": 100}),
            ["image: Azure ML chooses the image, got 'x'", "disk_gib: Azure ML chooses the disk_gib, got 100"],
        ),
        (
            lambda: Budget("b", owner="me", usd_per_month=0, alert_at_percent=[1, 2, 3, 4, 5]),
            ["3 problems", "owner: not a mail address, got", "usd_per_month"],
        ),
    ],
)
def test_all_wrong_inputs_are_reported(record: Any, program: Callable[[], Any], expected: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(program)
    assert all(text in str(caught.value) for text in expected), str(caught.value)


def test_adopted_resources_are_not_managed(record: Any) -> None:
    def program() -> None:
        Network.adopt("hub", vpc_id=pulumi.Output.from_input(VNET), subnet_ids={"1": SUBNET})
        bucket = Bucket.adopt("data", bucket=DATA)
        pulumi.export("known", [bucket.name, bucket.url])

    recorded = record(program)
    assert kinds(recorded) == [
        "ApplicationSecurityGroup hub-nodes",
        "Bucket data",
        "Network hub",
        "NetworkSecurityGroup hub-nodes",
        "ResourceGroup hub-group",
    ]
    assert recorded.exports["known"] == ["acmedata/nlp", "abfs://nlp@acmedata.dfs.core.windows.net"]
