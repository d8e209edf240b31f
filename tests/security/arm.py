"""Converts recorded Azure resources into an Azure Resource Manager template, which Checkov reads.

The SDK leaves out `properties`, at the top and in list items that are resources themselves, such as the rules of a security group.
azure_types.json says where they belong; without them Checkov would not see a rule that is open to the world. Names that differ are there
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fakes.pulumi_provider import azure_types, sdk_check, sdk_schema
from tests.security.rows import Row

_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"


def template(resources: list[Row]) -> dict[str, Any]:
    """Return the template of these resources."""
    found = [_resource(row) for row in resources if azure_types.table()[row.token]["arm"]]
    return {"$schema": _SCHEMA, "contentVersion": "1.0.0.0", "resources": found}


def address(row: Row) -> str:
    """Return Checkov's name of a resource."""
    return f"{azure_types.table()[row.token]['arm']}.{_name(row)}"


def _resource(row: Row) -> dict[str, Any]:
    entry, known = azure_types.table()[row.token], sdk_check.resource(row.token).inputs
    renames = entry.get("renames", {})
    given = {renames.get(name, name): _value(known[name].kind, value) for name, value in row.inputs.items() if name not in entry["path"]}
    head = {"type": entry["arm"], "apiVersion": entry["version"], "name": _name(row)}
    return {**head, **(given if "properties" in given else _nested(given))}


def _name(row: Row) -> str:
    """Return the name in the program, or the name in Azure where a rule judges it."""
    return str(row.inputs.get(azure_types.table()[row.token].get("judged_name", "")) or row.name)


def _nested(given: Mapping[str, Any]) -> dict[str, Any]:
    head = {name: value for name, value in given.items() if name in azure_types.document()["head"]}
    inner = {name: value for name, value in given.items() if name not in azure_types.document()["head"]}
    return {**head, "properties": inner}


def _value(kind: sdk_schema.Kind, value: Any) -> Any:
    if isinstance(value, list) and kind.word == "list":
        return [_value(kind.parts[0], item) for item in value]
    if isinstance(value, Mapping) and kind.word == "map":
        return {key: _value(kind.parts[0], item) for key, item in value.items()}
    if isinstance(value, Mapping) and kind.word == "union":
        return _value(next((part for part in kind.parts if _is(part, value)), kind.parts[0]), value)
    if isinstance(value, Mapping) and kind.word == "object":
        fields = sdk_schema.fields(kind.home, kind.name)
        inner = {name: _value(fields[name].kind, item) for name, item in value.items()}
        return _nested(inner) if f"{kind.home.rpartition('/')[2]}:{kind.name}" in azure_types.document()["nested"] else inner
    return value


def _is(kind: sdk_schema.Kind, value: Any) -> bool:
    """Return whether a value is of this kind. An object must have the kind's property names, at every level."""
    if isinstance(value, Mapping) and kind.word == "object":
        fields = sdk_schema.fields(kind.home, kind.name)
        return all(name in fields and _is(fields[name].kind, item) for name, item in value.items())
    if isinstance(value, list) and kind.word == "list":
        return all(_is(kind.parts[0], item) for item in value)
    return any(_is(part, value) for part in kind.parts) if kind.word == "union" else True
