"""Converts recorded AWS and GCP resources into the JSON of a Terraform plan, which Checkov reads.

Names differ in two ways: camelCase, and plural names of lists in Pulumi's bridge. terraform.json of a cloud has each such list: a missing
one hides a block, and a check that sees nothing passes. `origins` tells references, which graph checks follow, from plain values.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.fakes.pulumi_provider import sdk_check, sdk_schema
from tests.fakes.pulumi_provider.answers import Origin
from tests.security.rows import Row

_MAPS = [Path(__file__).with_name(cloud) / "terraform.json" for cloud in ("aws", "gcp")]


@functools.cache
def table() -> Mapping[str, Any]:
    """Return type token -> Terraform type, and the Terraform names of its lists."""
    return {token: row for file in _MAPS for token, row in json.loads(file.read_text(encoding="utf-8"))["types"].items()}


def plan(resources: list[Row], origins: Mapping[str, Origin]) -> dict[str, Any]:
    """Return the plan that creates these resources."""
    pattern = re.compile("|".join(re.escape(value) for value in sorted(origins, key=len, reverse=True)) or "$^")
    blocks = [_resource(row, origins, pattern) for row in resources]
    changes = [{**address, "change": {"actions": ["create"], "before": None, "after": values}} for address, values, _ in blocks]
    return {
        "format_version": "1.2",
        "terraform_version": "1.9.0",
        "planned_values": {"root_module": {"resources": [{**address, "values": values} for address, values, _ in blocks]}},
        "resource_changes": changes,
        "configuration": {"root_module": {"resources": [{**address, "expressions": expressions} for address, _, expressions in blocks]}},
    }


def address(token: str, name: str) -> str:
    """Return a resource's address in the plan."""
    return f"{table()[token]['terraform']}.{name}"


def _resource(row: Row, origins: Mapping[str, Origin], pattern: re.Pattern[str]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    kind, known = table()[row.token]["terraform"], sdk_check.resource(row.token).inputs
    provider = "google" if row.token.startswith("gcp:") else "aws"
    head = {"address": address(row.token, row.name), "mode": "managed", "type": kind, "name": row.name, "provider_name": provider}
    values: dict[str, Any] = {}
    expressions: dict[str, Any] = {}
    for name, value in row.inputs.items():
        terraform = _name(row.token, name)
        found = [origins[text] for text in dict.fromkeys(_found(value, pattern))]
        if found:
            whose = [(address(each.token, each.name), _snake(each.attribute)) for each in found]
            expressions[terraform] = {"references": [part for at, word in whose for part in (f"{at}.{word}", at)]}
        if isinstance(value, str) and value in origins:
            continue  # Checkov replaces the value by the reference
        if isinstance(value, list):
            value = [None if isinstance(item, str) and item in origins else item for item in value]  # here too
        values[terraform] = _value(row.token, known[name].kind, value)
    return head, values, expressions


def _value(token: str, kind: sdk_schema.Kind, value: Any) -> Any:
    if isinstance(value, Mapping) and kind.word == "object":
        fields = sdk_schema.fields(kind.home, kind.name)
        return [{_name(token, name): _value(token, fields[name].kind, item) for name, item in value.items()}]
    if isinstance(value, list) and kind.word == "list":
        items = [_value(token, kind.parts[0], item) for item in value]
        return [each for item in items for each in item] if kind.parts[0].word == "object" else items
    return value


def _found(value: Any, pattern: re.Pattern[str]) -> Iterator[str]:
    if isinstance(value, str):
        yield from pattern.findall(value)
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _found(item, pattern)


def _name(token: str, name: str) -> str:
    return str(table()[token]["lists"].get(name) or _snake(name))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
