"""How Azure shapes what it makes: ids, names, what cannot be changed in place, and the answers to look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.standin.shapes import Shapes

SUBSCRIPTION = "00000000-1111-2222-3333-444444444444"
TENANT, OBJECT, CLIENT = (f"{digit * 8}-{digit * 4}-4{digit * 3}-8{digit * 3}-{digit * 12}" for digit in "567")
LOCATION = "eastus"

_FIXED: Mapping[str, frozenset[str]] = {"*": frozenset({"resourceGroupName", "location"})}
LOOK_UPS: Mapping[str, Mapping[str, Any]] = {
    "azure-native:authorization:getClientConfig": {
        "clientId": CLIENT,
        "objectId": OBJECT,
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
    },
}
_GROUP = "azure-native:resources:ResourceGroup"


def _name_key(token: str) -> str:
    """The last part of its path: `virtualNetworkName` of a VirtualNetwork."""
    kind = token.rpartition(":")[2]
    return f"{kind[0].lower()}{kind[1:]}Name"


_NAMED_BY = {"azure-native:storage:StorageAccount": "accountName"}


def _made(token: str, urn: str, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The id is the resource's path below its group; `name` is the last part of it."""
    _, service, kind = token.split(":")
    name = str(inputs.get(_NAMED_BY.get(token) or _name_key(token)) or urn.rpartition("::")[2])
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name if token == _GROUP else inputs.get('resourceGroupName', 'none')}"
    if token == _GROUP:
        return group, {"name": name}
    return f"{group}/providers/Microsoft.{service.capitalize()}/{kind[0].lower()}{kind[1:]}s/{name}", {"name": name}


def _computed(name: str, made_id: str) -> Any:
    return {"location": LOCATION, "tenantId": TENANT, "provisioningState": "Succeeded"}.get(name)


def _name(token: str, label: str, drawn: str) -> str:
    return drawn.replace("-", "").lower() if token in _NAMED_BY else drawn


SHAPES = Shapes(
    look_ups=LOOK_UPS,
    fixed=_FIXED,
    renewed={},
    named_by=_NAMED_BY,
    made=_made,
    held=frozenset({"azure-native:network:Subnet", "azure-native:network:VirtualNetwork"}),
    computed=_computed,
    name=_name,
    name_key=_name_key,
)
