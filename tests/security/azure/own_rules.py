"""Our own rules for Azure resources that Checkov does not check: it knows most of these only in Terraform's form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.security.rows import Row
from tests.security.rules import Rules, secret_in

_WORLD = ("*", "0.0.0.0/0", "::/0", "Internet", "Any")
_ACCOUNT = "azure-native:storage:StorageAccount"
_ML = "azure-native:machinelearningservices"
# Private endpoints of an account. Azure ML itself creates those of a workspace's own storage.
_DOORS = ("azure-native:network:PrivateEndpoint", f"{_ML}:ManagedNetworkSettingsRule", f"{_ML}:Workspace")
# Roles that grant everything, or the right to grant: learn.microsoft.com/azure/role-based-access-control/built-in-roles
_BROAD = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
    "f58310d9-a9f6-439a-9e8d-f62e7b41a168": "Role Based Access Control Administrator",
    "17d1049b-9a84-46fb-8f53-869881c3d3ab": "Storage Account Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
}
_AUDIENCE = ["api://AzureADTokenExchange"]


def _machines(row: Row) -> Mapping[str, Any]:
    return row.inputs.get("virtualMachineProfile") or {}


def _no_public_address(row: Row, _: Sequence[Row]) -> Iterator[str]:
    cards = (_machines(row).get("networkProfile") or {}).get("networkInterfaceConfigurations") or []
    for card in cards:
        if any(address.get("publicIPAddressConfiguration") for address in card.get("ipConfigurations") or []):
            yield f"network card {card.get('name')} gets a public address"
        if card.get("enableIPForwarding"):
            yield f"network card {card.get('name')} forwards IP packets"


def _protected_machines(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if (row.inputs.get("identity") or {}).get("type") != "UserAssigned":
        yield "its machines have no user-assigned identity"
    if not (_machines(row).get("securityProfile") or {}).get("encryptionAtHost"):
        yield "encryption at host is off"
    linux = (_machines(row).get("osProfile") or {}).get("linuxConfiguration") or {}
    if not linux.get("disablePasswordAuthentication"):
        yield "it allows password login"


def _no_secret_at_boot(row: Row, _: Sequence[Row]) -> Iterator[str]:
    for data in ((_machines(row).get("osProfile") or {}).get("customData"), _machines(row).get("userData")):
        if found := secret_in(str(data or "")):
            yield f"its boot script contains what looks like a secret: {found}"


def _subnet_has_a_security_group(row: Row, _: Sequence[Row]) -> Iterator[str]:
    yield from _subnet_problems(row.inputs)


def _subnets_have_security_groups(row: Row, _: Sequence[Row]) -> Iterator[str]:
    for subnet in row.inputs.get("subnets") or []:
        for problem in _subnet_problems(subnet):
            yield f"subnet {subnet.get('name')}: {problem}"


def _subnet_problems(subnet: Mapping[str, Any]) -> Iterator[str]:
    if not subnet.get("networkSecurityGroup"):
        yield "it has no security group"
    if subnet.get("defaultOutboundAccess") is not False:
        yield "default outbound access is on: machines get a hidden public address"


def _security_group_denies_the_rest(row: Row, _: Sequence[Row]) -> Iterator[str]:
    rules = row.inputs.get("securityRules") or []
    for rule in rules:
        yield from (f"rule {rule.get('name')}: {problem}" for problem in _security_rule_problems(rule))
    if not any(_denies_all(rule) for rule in rules):
        yield "no rule denies all other ingress: Azure's default allows the whole virtual network"


def _security_rule(row: Row, _: Sequence[Row]) -> Iterator[str]:
    yield from _security_rule_problems(row.inputs)


def _security_rule_problems(rule: Mapping[str, Any]) -> Iterator[str]:
    if rule.get("access") != "Allow":
        return
    if rule.get("direction") == "Inbound":
        sources = [rule.get("sourceAddressPrefix"), *(rule.get("sourceAddressPrefixes") or [])]
        joined = () if _is_https_to_one_destination(rule) else ("VirtualNetwork",)  # what is joined to a network comes with it
        if any(source in (*_WORLD, *joined) for source in sources):
            yield f"it lets {', '.join(filter(None, sources))} in: name a group of machines or a subnet"
        elif not any(sources) and not rule.get("sourceApplicationSecurityGroups"):
            yield "it allows ingress from everywhere"
    elif set(_WORLD) & {rule.get("destinationAddressPrefix"), *(rule.get("destinationAddressPrefixes") or [])}:
        ports = [rule.get("destinationPortRange"), *(rule.get("destinationPortRanges") or [])]
        if str(rule.get("protocol")).lower() != "tcp" or [port for port in ports if port] != ["443"]:
            yield "it allows egress to the internet other than HTTPS"


def _is_https_to_one_destination(rule: Mapping[str, Any]) -> bool:
    """Return whether a rule allows HTTPS to one destination only, which then authenticates the caller."""
    ports = (rule.get("protocol"), rule.get("destinationPortRange"))
    return ports == ("Tcp", "443") and rule.get("destinationAddressPrefix") not in (None, *_WORLD, "VirtualNetwork")


def _denies_all(rule: Mapping[str, Any]) -> bool:
    wanted = {"access": "Deny", "direction": "Inbound", "protocol": "*", "sourceAddressPrefix": "*", "destinationPortRange": "*"}
    return all(rule.get(key) == value for key, value in wanted.items())


def _address_belongs_to_a_nat_gateway(row: Row, resources: Sequence[Row]) -> Iterator[str]:
    gateways = [other.inputs for other in resources if other.token == "azure-native:network:NatGateway"]
    if not any(f"/{row.name}" in json.dumps(gateway.get("publicIpAddresses")) for gateway in gateways):
        yield "a public address that belongs to no NAT gateway"


def _identities_only(row: Row, resources: Sequence[Row]) -> Iterator[str]:
    wanted = {
        "allowSharedKeyAccess": (False, "account keys open it"),
        "allowBlobPublicAccess": (False, "containers in it can be made public"),
        "allowCrossTenantReplication": (False, "it can be copied to another tenant"),
    }
    for key, (value, problem) in wanted.items():
        if row.inputs.get(key) != value:
            yield problem
    closed = row.inputs.get("publicNetworkAccess") == "Disabled"
    if not closed and (row.inputs.get("networkRuleSet") or {}).get("defaultAction") != "Deny":
        yield "the whole internet can reach it"
    doors = [json.dumps(dict(other.inputs)) for other in resources if other.token in _DOORS]
    if not any(f"/{row.inputs.get('accountName') or row.name}" in door for door in doors):
        yield "it has no private endpoint"


def _has_soft_delete(row: Row, resources: Sequence[Row]) -> Iterator[str]:
    for key in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
        if not (row.inputs.get(key) or {}).get("enabled"):
            yield f"{key} is off"


def _uses_roles(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if not (row.inputs.get("properties") or {}).get("enableRbacAuthorization"):
        yield "it uses access policies instead of roles"


def _is_rotated(row: Row, _: Sequence[Row]) -> Iterator[str]:
    actions = ((row.inputs.get("properties") or {}).get("rotationPolicy") or {}).get("lifetimeActions") or []
    if not any(str((each.get("action") or {}).get("type")).lower() == "rotate" for each in actions):
        yield "it is not rotated"


def _narrow_assignment(row: Row, _: Sequence[Row]) -> Iterator[str]:
    scope, role = str(row.inputs.get("scope")), str(row.inputs.get("roleDefinitionId")).rpartition("/")[2].lower()
    if "/providers/" not in scope:
        yield f"it is about all of {scope}, not about one resource"
    if role in _BROAD:
        yield f"{_BROAD[role]} is more than any part of a yard needs"


def _narrow_role(row: Row, _: Sequence[Row]) -> Iterator[str]:
    for permission in row.inputs.get("permissions") or []:
        words = [*(permission.get("actions") or []), *(permission.get("dataActions") or [])]
        if wide := [word for word in words if "*" in word or word.startswith("Microsoft.Authorization/")]:
            yield f"actions contain a wildcard: {', '.join(wide)}"
    if any(not re.match(r"/subscriptions/[^/]+/resourceGroups/", str(scope)) for scope in row.inputs.get("assignableScopes") or []):
        yield "its scope is wider than a resource group"


def _trust_names_its_subjects(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("audiences") != _AUDIENCE:
        yield "a token for another audience is accepted"
    if not row.inputs.get("subject") or "*" in str(row.inputs.get("subject")):
        yield "no subject is named"
    if not str(row.inputs.get("issuer")).startswith("https://"):
        yield "its issuer does not use HTTPS"


def _private_cluster(row: Row, _: Sequence[Row]) -> Iterator[str]:
    compute = row.inputs.get("properties") or {}
    cluster = compute.get("properties") or {}
    if compute.get("disableLocalAuth") is not True:
        yield "it allows access with keys and passwords"
    if cluster.get("enableNodePublicIp") is not False:
        yield "its nodes get public addresses"
    if cluster.get("remoteLoginPortPublicAccess") != "Disabled":
        yield "its SSH port is open"


def _private_workspace(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("publicNetworkAccess") != "Disabled":
        yield "the internet can reach it"
    if row.inputs.get("systemDatastoresAuthMode") != "Identity":
        yield "its storage uses account keys"


def _no_automatic_registration(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("registrationEnabled") is not False:
        yield "machines register their names in the zone"


RULES: Rules = {
    "azure-native:authorization:RoleAssignment": (_narrow_assignment,),
    "azure-native:authorization:RoleDefinition": (_narrow_role,),
    "azure-native:compute:VirtualMachineScaleSet": (_no_public_address, _protected_machines, _no_secret_at_boot),
    "azure-native:keyvault:Key": (_is_rotated,),
    "azure-native:keyvault:Vault": (_uses_roles,),
    f"{_ML}:Compute": (_private_cluster,),
    f"{_ML}:Workspace": (_private_workspace,),
    "azure-native:managedidentity:FederatedIdentityCredential": (_trust_names_its_subjects,),
    "azure-native:network:NetworkSecurityGroup": (_security_group_denies_the_rest,),
    "azure-native:network:PublicIPAddress": (_address_belongs_to_a_nat_gateway,),
    "azure-native:network:SecurityRule": (_security_rule,),
    "azure-native:network:Subnet": (_subnet_has_a_security_group,),
    "azure-native:network:VirtualNetwork": (_subnets_have_security_groups,),
    "azure-native:privatedns:VirtualNetworkLink": (_no_automatic_registration,),
    "azure-native:storage:BlobServiceProperties": (_has_soft_delete,),
    _ACCOUNT: (_identities_only,),
}
