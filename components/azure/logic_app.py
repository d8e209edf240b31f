"""Parts of a Logic App's definition that call Azure Resource Manager with the app's own identity."""

from __future__ import annotations

from ...plain_data import PlainDict, PlainMapping

__all__ = ["ARM", "call", "definition"]

ARM = "https://management.azure.com"
_SCHEMA = "https://schema.management.azure.com/providers/Microsoft.Logic/schemas/2016-06-01/workflowdefinition.json#"


def definition(triggers: PlainMapping, actions: PlainMapping) -> PlainDict:
    """Return a workflow definition (learn.microsoft.com/azure/logic-apps/logic-apps-workflow-definition-language)."""
    return {"$schema": _SCHEMA, "contentVersion": "1.0.0.0", "triggers": dict(triggers), "actions": dict(actions), "outputs": {}}


def call(method: str, path: str, queries: PlainMapping, body: PlainMapping | None = None) -> PlainDict:
    """Return an action that calls a resource. `path`: the path below the host; `queries` include api-version.

    It does not wait for a long operation, because the roles of the apps do not allow to read its state.
    """
    authentication = {"type": "ManagedServiceIdentity", "audience": f"{ARM}/"}
    inputs: PlainDict = {"method": method, "uri": f"{ARM}{path}", "queries": dict(queries), "authentication": authentication}
    if body is not None:
        inputs["body"] = dict(body)
    return {"type": "Http", "inputs": inputs, "runAfter": {}, "operationOptions": "DisableAsyncPattern"}
