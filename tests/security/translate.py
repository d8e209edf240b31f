"""Recorded AWS resources as the JSON of a Terraform plan, the form that Checkov reads.

Names differ in two ways: camelCase, and lists which Pulumi's bridge writes in the plural (aws_terraform.json has each one: without
it a block is not seen, and a check that sees nothing passes). References are what graph checks follow: see `Reading`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from components.planning.monitor import Recording, properties
from tests.support.standin import sdk

_MAP = Path(__file__).with_name("aws_terraform.json")
_REFERENCE = re.compile(r"ref://([\w.-]+?)\.([\w-]+)\.([\w-]+?)(?=$|[^\w-])")


class Row(NamedTuple):
    """A resource: its type token, its name in the plan, and its inputs as they go over the wire."""

    token: str
    name: str
    inputs: Mapping[str, Any]


@functools.cache
def table() -> Mapping[str, Any]:
    """Type token -> its Terraform type and the Terraform names of its lists."""
    types: Mapping[str, Any] = json.loads(_MAP.read_text(encoding="utf-8"))["types"]
    return types


def rows(recording: Recording) -> list[Row]:
    """The AWS resources of a recording."""
    requests = [request for request in recording.resources.values() if request.custom and request.type.startswith("aws:")]
    return [Row(request.type, request.name, sdk.plain(properties(request.object))) for request in requests]


def reference(token: str, name: str, attribute: str) -> str:
    """What stands for an output of a resource, so that the plan can say who refers to whom."""
    return f"ref://{table()[token]['terraform']}.{name}.{_snake(attribute)}"


def plan(resources: list[Row]) -> dict[str, Any]:
    """The plan of creating them."""
    blocks = [_resource(row) for row in resources]
    return {
        "format_version": "1.2",
        "terraform_version": "1.9.0",
        "planned_values": {"root_module": {"resources": [{**address, "values": values} for address, values, _ in blocks]}},
        "resource_changes": [
            {**address, "change": {"actions": ["create"], "before": None, "after": values}} for address, values, _ in blocks
        ],
        "configuration": {"root_module": {"resources": [{**address, "expressions": expressions} for address, _, expressions in blocks]}},
    }


def _resource(row: Row) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    kind, known = table()[row.token]["terraform"], sdk.resource(row.token).inputs
    address = {"address": f"{kind}.{row.name}", "mode": "managed", "type": kind, "name": row.name, "provider_name": "aws"}
    values: dict[str, Any] = {}
    expressions: dict[str, Any] = {}
    for name, value in row.inputs.items():
        terraform = _name(row.token, name)
        found = list(dict.fromkeys(_references(value)))
        if found:
            expressions[terraform] = {"references": [part for each in found for part in (each, each.rpartition(".")[0])]}
        if isinstance(value, str) and _REFERENCE.fullmatch(value):
            continue  # Checkov puts the reference in its place
        values[terraform] = _value(row.token, known[name].kind, value, top=True)
    return address, values, expressions


def _value(token: str, kind: sdk.Kind, value: Any, *, top: bool = False) -> Any:
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _stand_in(match), value)
    if isinstance(value, Mapping) and kind.word == "object":
        fields = sdk.fields(kind.home, kind.name)
        return [{_name(token, name): _value(token, fields[name].kind, item) for name, item in value.items()}]
    if isinstance(value, Mapping):
        return {key: _value(token, sdk.Kind("any"), item) for key, item in value.items()}
    if isinstance(value, list) and kind.word == "list":
        items = [_value(token, kind.parts[0], item) for item in value]
        if kind.parts[0].word == "object":
            return [each for item in items for each in item]
        # None is where Checkov puts a reference in a list
        return [
            None if top and isinstance(item, str) and _REFERENCE.fullmatch(item) else new for item, new in zip(value, items, strict=True)
        ]
    return value


def _stand_in(match: re.Match[str]) -> str:
    """What an output looks like inside a longer text, such as a policy."""
    kind, name, attribute = match.groups()
    if attribute != "arn":
        return name
    return f"arn:aws:{'s3' if kind == 'aws_s3_bucket' else kind}:::{name}"


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        for match in _REFERENCE.finditer(value):
            yield ".".join(match.groups())
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _references(item)


def _name(token: str, name: str) -> str:
    return str(table()[token]["lists"].get(name) or _snake(name))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
