"""Each of our own Azure rules refuses its bad example and passes the good one."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.fakes.pulumi_provider import sdk_check
from tests.security.azure import own_rules
from tests.security.rows import Row
from tests.security.rules import wrong

VMSS = "azure-native:compute:VirtualMachineScaleSet"
SUBNET = "azure-native:network:Subnet"
NETWORK = "azure-native:network:VirtualNetwork"
GROUP = "azure-native:network:NetworkSecurityGroup"
RULE = "azure-native:network:SecurityRule"
ACCOUNT = "azure-native:storage:StorageAccount"
BLOBS = "azure-native:storage:BlobServiceProperties"
COMPUTE = "azure-native:machinelearningservices:Compute"
WORKSPACE = "azure-native:machinelearningservices:Workspace"
FEDERATED = "azure-native:managedidentity:FederatedIdentityCredential"
ASSIGNMENT = "azure-native:authorization:RoleAssignment"
ROLE = "azure-native:authorization:RoleDefinition"
KEY = "azure-native:keyvault:Key"
CARD = {"name": "eth0", "ipConfigurations": [{"name": "a", "subnet": {"id": "s"}}]}
GOOD_SET: dict[str, Any] = {
    "identity": {"type": "UserAssigned", "userAssignedIdentities": ["i"]},
    "virtualMachineProfile": {
        "networkProfile": {"networkInterfaceConfigurations": [CARD]},
        "osProfile": {
            "customData": base64.b64encode(b"mount /data").decode(),
            "linuxConfiguration": {"disablePasswordAuthentication": True},
        },
        "securityProfile": {"encryptionAtHost": True},
    },
}
GOOD_SUBNET = {"networkSecurityGroup": {"id": "g"}, "defaultOutboundAccess": False}
DENY = {"name": "d", "access": "Deny", "direction": "Inbound", "protocol": "*", "sourceAddressPrefix": "*", "destinationPortRange": "*"}
JOINED = {
    **{"name": "j", "access": "Allow", "direction": "Inbound", "protocol": "Tcp", "destinationPortRange": "443"},
    **{"sourceAddressPrefix": "VirtualNetwork", "destinationAddressPrefix": "10.0.1.0/24"},
}
PEERS = {"name": "p", "access": "Allow", "direction": "Inbound", "protocol": "*", "sourceApplicationSecurityGroups": [{"id": "a"}]}
HTTPS = {
    "access": "Allow",
    "direction": "Outbound",
    "protocol": "Tcp",
    "destinationAddressPrefix": "Internet",
    "destinationPortRange": "443",
}
GOOD_ACCOUNT = {
    "allowSharedKeyAccess": False,
    "allowBlobPublicAccess": False,
    "allowCrossTenantReplication": False,
    "publicNetworkAccess": "Disabled",
}
GOOD_CLUSTER = {"enableNodePublicIp": False, "remoteLoginPortPublicAccess": "Disabled"}
GOOD_COMPUTE = {"properties": {"computeType": "AmlCompute", "disableLocalAuth": True, "properties": GOOD_CLUSTER}}
GOOD_SUBJECT = {"audiences": ["api://AzureADTokenExchange"], "subject": "repo:a/b:ref:refs/heads/main", "issuer": "https://x.io"}
BLOB = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/a/blobServices/default/containers/c"
CONTRIBUTOR = "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/ba92f5b4-2d11-453d-a403-e96b0029c9fe"
OWNER = "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


def machines(**profile: Any) -> dict[str, Any]:
    """Return a scale set with changed machine properties."""
    return {**GOOD_SET, "virtualMachineProfile": {**GOOD_SET["virtualMachineProfile"], **profile}}


def cards(**more: Any) -> dict[str, Any]:
    """Return a scale set with another network interface."""
    return machines(networkProfile={"networkInterfaceConfigurations": [{**CARD, **more}]})


def cluster(**more: Any) -> dict[str, Any]:
    """Return a cluster with changed node properties."""
    return {"properties": {**GOOD_COMPUTE["properties"], "properties": {**GOOD_CLUSTER, **more}}}


GOOD: list[tuple[str, dict[str, Any]]] = [
    (VMSS, GOOD_SET),
    (SUBNET, GOOD_SUBNET),
    (NETWORK, {"subnets": [{"name": "a", **GOOD_SUBNET}]}),
    (GROUP, {"securityRules": [PEERS, {"name": "o", **HTTPS}, DENY]}),
    (GROUP, {"securityRules": [JOINED, DENY]}),
    (RULE, PEERS),
    (BLOBS, {"deleteRetentionPolicy": {"enabled": True, "days": 7}, "containerDeleteRetentionPolicy": {"enabled": True, "days": 7}}),
    (COMPUTE, GOOD_COMPUTE),
    (WORKSPACE, {"publicNetworkAccess": "Disabled", "systemDatastoresAuthMode": "Identity"}),
    (FEDERATED, GOOD_SUBJECT),
    (ASSIGNMENT, {"scope": BLOB, "roleDefinitionId": CONTRIBUTOR}),
    (ROLE, {"assignableScopes": ["/subscriptions/s/resourceGroups/rg"], "permissions": [{"actions": ["Microsoft.Compute/x/read"]}]}),
    (KEY, {"properties": {"rotationPolicy": {"lifetimeActions": [{"action": {"type": "rotate"}}]}}}),
    ("azure-native:keyvault:Vault", {"properties": {"enableRbacAuthorization": True}}),
    ("azure-native:privatedns:VirtualNetworkLink", {"registrationEnabled": False}),
]
BAD: list[tuple[str, dict[str, Any], str]] = [
    (VMSS, cards(ipConfigurations=[{"name": "a", "publicIPAddressConfiguration": {"name": "p"}}]), "gets a public address"),
    (VMSS, cards(enableIPForwarding=True), "forwards IP packets"),
    (VMSS, {**GOOD_SET, "identity": {"type": "SystemAssigned"}}, "its machines have no user-assigned identity"),
    (VMSS, machines(securityProfile={"securityType": "TrustedLaunch"}), "encryption at host is off"),
    (VMSS, machines(osProfile={"linuxConfiguration": {}}), "it allows password login"),
    (VMSS, machines(userData=base64.b64encode(b"export HF_TOKEN=0123456789abcdef0123").decode()), "secret"),
    (SUBNET, {"defaultOutboundAccess": False}, "no security group"),
    (SUBNET, {"networkSecurityGroup": {"id": "g"}}, "hidden public address"),
    (NETWORK, {"subnets": [{"name": "a"}]}, "subnet a: it has no security group"),
    (GROUP, {"securityRules": [PEERS]}, "no rule denies all other ingress: Azure's default allows the whole virtual network"),
    (GROUP, {"securityRules": [DENY, {**PEERS, "sourceAddressPrefix": "VirtualNetwork"}]}, "lets VirtualNetwork in"),
    (GROUP, {"securityRules": [DENY, {**JOINED, "destinationPortRange": "22"}]}, "lets VirtualNetwork in"),
    (GROUP, {"securityRules": [DENY, {**JOINED, "destinationAddressPrefix": "*"}]}, "lets VirtualNetwork in"),
    (GROUP, {"securityRules": [DENY, {**PEERS, "sourceApplicationSecurityGroups": []}]}, "it allows ingress from everywhere"),
    (RULE, {**PEERS, "sourceAddressPrefixes": ["Internet"]}, "lets Internet in"),
    (RULE, {**HTTPS, "destinationPortRange": "*"}, "it allows egress to the internet other than HTTPS"),
    (RULE, {**HTTPS, "destinationAddressPrefix": "*", "protocol": "*"}, "it allows egress to the internet other than HTTPS"),
    ("azure-native:network:PublicIPAddress", {}, "a public address that belongs to no NAT gateway"),
    (ACCOUNT, {**GOOD_ACCOUNT, "allowSharedKeyAccess": True}, "account keys open it"),
    (ACCOUNT, {**GOOD_ACCOUNT, "publicNetworkAccess": "Enabled"}, "the whole internet can reach it"),
    (
        ACCOUNT,
        {**GOOD_ACCOUNT, "publicNetworkAccess": "Enabled", "networkRuleSet": {"defaultAction": "Allow"}},
        "the whole internet can reach it",
    ),
    (ACCOUNT, GOOD_ACCOUNT, "no private endpoint"),
    (BLOBS, {"deleteRetentionPolicy": {"enabled": True}}, "containerDeleteRetentionPolicy is off"),
    (COMPUTE, cluster(enableNodePublicIp=True), "nodes get public addresses"),
    (COMPUTE, {"properties": {"computeType": "AmlCompute", "properties": GOOD_CLUSTER}}, "keys and passwords"),
    (COMPUTE, cluster(remoteLoginPortPublicAccess="Enabled"), "SSH port is open"),
    (WORKSPACE, {"publicNetworkAccess": "Enabled", "systemDatastoresAuthMode": "Identity"}, "the internet can reach it"),
    (WORKSPACE, {"publicNetworkAccess": "Disabled", "systemDatastoresAuthMode": "AccessKey"}, "its storage uses account keys"),
    (FEDERATED, {**GOOD_SUBJECT, "audiences": ["api://other"]}, "another audience"),
    (FEDERATED, {**GOOD_SUBJECT, "subject": "repo:a/*"}, "no subject is named"),
    (FEDERATED, {**GOOD_SUBJECT, "issuer": "http://x.io"}, "its issuer does not use HTTPS"),
    (ASSIGNMENT, {"scope": "/subscriptions/s/resourceGroups/rg", "roleDefinitionId": CONTRIBUTOR}, "not about one resource"),
    (ASSIGNMENT, {"scope": BLOB, "roleDefinitionId": OWNER}, "Owner is more than"),
    (ROLE, {"permissions": [{"actions": ["Microsoft.Compute/*"]}]}, "actions contain a wildcard:"),
    (ROLE, {"permissions": [{"actions": ["Microsoft.Authorization/roleAssignments/write"]}]}, "actions contain a wildcard:"),
    (ROLE, {"assignableScopes": ["/subscriptions/s"]}, "its scope is wider than a resource group"),
    (KEY, {"properties": {"kty": "RSA"}}, "it is not rotated"),
    ("azure-native:keyvault:Vault", {"properties": {"enableRbacAuthorization": False}}, "access policies"),
    ("azure-native:privatedns:VirtualNetworkLink", {"registrationEnabled": True}, "machines register their names in the zone"),
]


@pytest.mark.parametrize(("token", "inputs", "told"), BAD)
def test_the_bad_example_is_refused(token: str, inputs: dict[str, Any], told: str) -> None:
    assert told in "\n".join(wrong(own_rules.RULES, [Row(token, "bad", inputs)]))


@pytest.mark.parametrize(("token", "inputs"), GOOD)
def test_the_good_example_passes(token: str, inputs: dict[str, Any]) -> None:
    assert wrong(own_rules.RULES, [Row(token, "good", inputs)]) == []


def test_resources_that_other_resources_refer_to_pass() -> None:
    endpoint = {"privateLinkServiceConnections": [{"name": "c", "privateLinkServiceId": "/s/storageAccounts/runs"}]}
    gateway = {"publicIpAddresses": [{"id": "/s/publicIPAddresses/out"}]}
    rows = [
        Row(ACCOUNT, "r", {**GOOD_ACCOUNT, "accountName": "runs"}),
        Row(ACCOUNT, "runs", {**GOOD_ACCOUNT, "publicNetworkAccess": "Enabled", "networkRuleSet": {"defaultAction": "Deny"}}),
        Row("azure-native:network:PrivateEndpoint", "runs-blob", endpoint),
        Row("azure-native:network:PublicIPAddress", "out", {}),
        Row("azure-native:network:NatGateway", "nat", gateway),
    ]
    assert wrong(own_rules.RULES, rows) == []


def test_every_rule_has_a_bad_example_of_a_type_in_the_sdk() -> None:
    assert set(own_rules.RULES) == {bad[0] for bad in BAD}
    for token, inputs in [*((token, inputs) for token, inputs, _ in BAD), *GOOD]:
        assert not [line for line in sdk_check.problems(token, inputs) if not line.endswith(": required")], (
            "an example must be a possible one"
        )
