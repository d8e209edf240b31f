"""How Azure forms ids and names, which properties force a replacement, and the results of look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fakes.pulumi_provider import azure_types
from tests.fakes.pulumi_provider.azure_refusals import refusals
from tests.fakes.pulumi_provider.resource_rules import ResourceRules, digits
from tests.fakes.pulumi_provider.sdk_check import UNKNOWN

SUBSCRIPTION = "00000000-1111-2222-3333-444444444444"
TENANT, OBJECT, CLIENT = (f"{digit * 8}-{digit * 4}-4{digit * 3}-8{digit * 3}-{digit * 12}" for digit in "567")
LOCATION = "eastus"

_GROUP = "azure-native:resources:ResourceGroup"
_IDENTITY = "azure-native:managedidentity:UserAssignedIdentity"
_ASSIGNMENT, _ROLE = "azure-native:authorization:RoleAssignment", "azure-native:authorization:RoleDefinition"
_ACCOUNT, _VAULT = "azure-native:storage:StorageAccount", "azure-native:keyvault:Vault"
_SCALE_SET = "azure-native:compute:VirtualMachineScaleSet"
_SQUEEZED = {_ACCOUNT, "azure-native:containerregistry:Registry"}  # their names have letters and digits only
_BELOW = ("scope", "resourceUri")  # the parent's id, for resources that extend another one
_FIXED: Mapping[str, frozenset[str]] = {
    "*": frozenset({"resourceGroupName", "location"}),
    _ACCOUNT: frozenset({"isHnsEnabled", "kind"}),
    _ASSIGNMENT: frozenset({"principalId", "principalType", "roleDefinitionId"}),
    _SCALE_SET: frozenset({"orchestrationMode", "zones", "platformFaultDomainCount"}),
    "azure-native:network:Subnet": frozenset({"defaultOutboundAccess"}),
    "azure-native:network:NatGateway": frozenset({"sku", "zones"}),
    "azure-native:network:PrivateEndpoint": frozenset({"subnet", "privateLinkServiceConnections"}),
    "azure-native:machinelearningservices:Compute": frozenset({"computeLocation"}),
    **{token: frozenset(row["path"]) | {"resourceGroupName", "location"} for token, row in azure_types.table().items()},
}
LOOK_UPS: Mapping[str, Mapping[str, Any]] = {
    "azure-native:authorization:getClientConfig": {
        "clientId": CLIENT,
        "objectId": OBJECT,
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
    },
}


def _name_key(token: str) -> str:
    """Return the last part of the path: `virtualNetworkName` of a VirtualNetwork."""
    kind = token.rpartition(":")[2]
    return next((part for part in reversed(_path(token)) if part not in _BELOW), f"{kind[0].lower()}{kind[1:]}Name")


def _path(token: str) -> list[str]:
    return list(azure_types.table().get(token, {"path": []})["path"])


def _made(token: str, urn: str, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return id and `name`. The id is the resource's path in its group or below its parent, and `name` is the path's last part."""
    label = urn.rpartition("::")[2]
    if token == _GROUP:
        name = str(inputs.get("resourceGroupName") or label)
        return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}", {"name": name}
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{inputs.get('resourceGroupName', 'none')}"
    above = next((str(inputs[key]) for key in _BELOW if key in inputs), group)
    kinds = (azure_types.table().get(token, {}).get("arm") or f"Microsoft.Other/{token.rpartition(':')[2]}").split("/")
    parts = [str(inputs.get(key) or label) for key in _path(token) if key not in ("resourceGroupName", *_BELOW)] or [label]
    parts = ["default"] * (len(kinds) - 1 - len(parts)) + parts  # a container belongs to the account's only blob service
    if token == "azure-native:storage:BlobContainer":
        parts = [parts[1], parts[0], parts[2]]
    made_id = "/".join([above, "providers", kinds[0], *(word for pair in zip(kinds[1:], parts, strict=False) for word in pair)])
    return made_id, {"name": parts[-1], **_own(token, urn, parts[-1])}


def _own(token: str, urn: str, name: str) -> dict[str, Any]:
    """Return outputs that only some types have: the ids of an identity, the URIs of a key, the address of a workflow."""
    if token == _IDENTITY:
        return {"principalId": _guid(urn, "principal"), "clientId": _guid(urn, "client"), "tenantId": TENANT}
    if token == "azure-native:logic:Workflow":
        return {"accessEndpoint": f"https://prod-1.{LOCATION}.logic.azure.com:443/workflows/{digits(urn)}"}
    if token == "azure-native:keyvault:Key":
        return {"keyUri": f"https://vault/keys/{name}", "keyUriWithVersion": f"https://vault/keys/{name}/{digits(urn)}"}
    return {}


def _shown(made_id: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties in the form that Azure returns: identities as a map with principals, a vault with its URI."""
    shown: dict[str, Any] = {}
    identity, properties = inputs.get("identity"), inputs.get("properties")
    if isinstance(identity, Mapping):
        given = identity.get("userAssignedIdentities") or []
        users = {each: {"principalId": _guid(each, "principal"), "clientId": _guid(each, "client")} for each in given}
        own = {"principalId": _guid(made_id, "own") if made_id else UNKNOWN, "tenantId": TENANT}
        named = {"userAssignedIdentities": UNKNOWN if UNKNOWN in users else users} if users else {}
        shown["identity"] = {**identity, **named, **(own if "SystemAssigned" in str(identity.get("type")) else {})}
    if isinstance(properties, Mapping) and "enableRbacAuthorization" in properties:
        where = f"https://{made_id.rpartition('/')[2]}.vault.azure.net/"
        shown["properties"] = {**properties, "vaultUri": where if made_id else UNKNOWN}
    return shown


def _guid(*parts: str) -> str:
    generated = digits(*parts) + digits(*parts, "more")
    return f"{generated[:8]}-{generated[8:12]}-4{generated[12:15]}-8{generated[15:18]}-{generated[18:30]}"


def _computed(name: str, made_id: str) -> Any:
    return {"location": LOCATION, "tenantId": TENANT, "provisioningState": "Succeeded"}.get(name)


def _name(token: str, label: str, generated: str) -> str:
    if token in (_ASSIGNMENT, _ROLE):
        return _guid(generated)
    return generated.replace("-", "").lower() if token in _SQUEEZED else generated


SHAPES = ResourceRules(
    look_ups=LOOK_UPS,
    fixed=_FIXED,
    renewed={},
    named_by={},
    made=_made,
    held=frozenset({"azure-native:network:Subnet", "azure-native:network:VirtualNetwork", _IDENTITY, _VAULT}),
    computed=_computed,
    name=_name,
    name_key=_name_key,
    places=lambda token: tuple(_path(token)),
    shown=_shown,
    refusals=refusals,
    read_by={"azure-native:compute:getVirtualMachineScaleSet": _SCALE_SET},
)
