"""Converts and checks values by botocore's shapes: parsing, serialising, and the constraints that botocore itself does not check."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.model import Shape, StructureShape


def parse(sent: Any, shape: StructureShape, path: Mapping[str, str], query: Mapping[str, list[str]], headers: Mapping[str, str]) -> Any:
    """Parse an operation's input from the body, the path, the query and the headers."""
    payload = shape.serialization.get("payload")
    body = {payload: _from_wire(sent, shape.members[payload])} if payload and sent else _from_wire(sent, shape)
    for name, member in shape.members.items():
        where, wire = member.serialization.get("location"), member.serialization.get("name", name)
        text: Any = None
        if where == "uri":
            text = path.get(wire)
        elif where == "querystring":
            text = query.get(wire) if member.type_name == "list" else query.get(wire, [None])[0]
        elif where == "header":
            text = headers.get(wire)
        if text is not None:
            body[name] = int(text) if member.type_name in {"integer", "long"} else text == "true" if member.type_name == "boolean" else text
    return body


def _from_wire(value: Any, shape: Shape) -> Any:
    if value is None:
        return None
    if shape.type_name == "structure" and isinstance(value, dict):
        wire = {member.serialization.get("name", name): name for name, member in shape.members.items()}
        named = {wire.get(key, key): item for key, item in value.items() if item is not None}
        return {key: _from_wire(item, shape.members[key]) if key in shape.members else item for key, item in named.items()}
    if shape.type_name == "list" and isinstance(value, list):
        return [_from_wire(item, shape.member) for item in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: _from_wire(item, shape.value) for key, item in value.items()}
    if shape.type_name == "timestamp" and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return base64.b64decode(value) if shape.type_name == "blob" else value


def serialise(value: Any, shape: StructureShape | None) -> bytes:
    """Serialise an output as JSON. Raises TypeError for a member that the model does not have."""
    return json.dumps(_to_wire(value, shape, "answer") if shape else {}).encode()


_PYTHON: dict[str, Any] = {
    "string": str,
    "character": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "float": (int, float),
    "double": (int, float),
}


def _to_wire(value: Any, shape: Shape, where: str) -> Any:
    kind = shape.type_name
    if kind == "structure" and isinstance(value, dict):
        if unknown := value.keys() - shape.members.keys():
            raise TypeError(f"{where} has {sorted(unknown)}, which are not members of {shape.name}")
        given = {name: item for name, item in value.items() if item is not None}
        return {
            shape.members[name].serialization.get("name", name): _to_wire(item, shape.members[name], f"{where}.{name}")
            for name, item in given.items()
        }
    if kind == "list" and isinstance(value, list | tuple):
        return [_to_wire(item, shape.member, f"{where}[]") for item in value]
    if kind == "map" and isinstance(value, dict):
        return {key: _to_wire(item, shape.value, f"{where}.{key}") for key, item in value.items()}
    if kind == "timestamp" and isinstance(value, datetime | int | float):
        return value.timestamp() if isinstance(value, datetime) else value
    if kind == "blob" and isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if kind not in _PYTHON or not isinstance(value, _PYTHON[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise TypeError(f"{where} is {value!r}, not a {kind}")
    return value


def broken_constraints(value: Any, shape: Shape, where: str = "") -> Iterator[str]:
    """Return the enums, patterns and maxima of the model that a value breaks. botocore does not check these."""
    if shape.type_name == "structure":
        for name, item in value.items():
            if name in shape.members:
                yield from broken_constraints(item, shape.members[name], f"{where}.{name}".lstrip("."))
        return
    limits = shape.metadata
    if shape.type_name in {"list", "map", "string"} and len(value) > limits.get("max", len(value)):
        yield f"{where}: length {len(value)} is above {limits['max']}"
    if shape.type_name in {"integer", "long", "float", "double"} and value > limits.get("max", value):
        yield f"{where}: {value} is above {limits['max']}"
    if limits.get("enum") and value not in limits["enum"]:
        yield f"{where}: {value!r} is none of {', '.join(limits['enum'])}"
    if limits.get("pattern") and not _matches(limits["pattern"], value):
        yield f"{where}: {value!r} does not match {limits['pattern']}"
    if shape.type_name == "list":
        for item in value:
            yield from broken_constraints(item, shape.member, f"{where}[]")
    if shape.type_name == "map":
        for key, item in value.items():
            yield from broken_constraints(key, shape.key, f"{where} key")
            yield from broken_constraints(item, shape.value, f"{where}.{key}")


def _matches(pattern: str, text: str) -> bool:
    posix = pattern.replace(r"\p{L}", r"\w").replace(r"\p{Z}", r"\s").replace(r"\p{N}", r"\d").replace(r"\p{M}", "")
    try:
        return re.fullmatch(posix, text) is not None
    except re.error:
        return True  # Java syntax that Python's re does not have: only the real service checks it
