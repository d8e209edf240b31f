"""Recorded properties as requests of AWS's own API, checked by botocore's model, which is stricter than the SDK's types.

A row of CALLS names the operations that create a resource of a type, and the properties whose names differ in the API. Other properties
are matched by name, at any depth. A property that matches no member of the operation is a problem.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import botocore.session
from botocore.model import Shape, StructureShape
from botocore.validate import ParamValidator

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One operation, and the properties that go into it."""

    service: str
    operation: str
    takes: tuple[str, ...] = ()  # the properties of this call; empty: all that no other call has
    names: Mapping[str, str] = field(default_factory=dict)  # property -> the API's name, at any depth
    under: str = ""  # the member that holds all properties but `beside`
    beside: tuple[str, ...] = ()
    tagged: str = ""  # EC2: the resource type of its TagSpecifications
    first: Callable[[Inputs, str], Inputs] = lambda inputs, made_id: inputs  # converts properties whose structure differs
    result: str = ""  # JMESPath of the new id in the response


@dataclass(frozen=True)
class Request:
    """A request as boto3 takes it."""

    service: str
    operation: str
    parameters: dict[str, Any]
    result: str


class Misfit(Exception):  # noqa: N818 a result of a check
    """Properties that no request can carry."""


def requests(token: str, inputs: Inputs, made_id: str) -> list[Request]:
    """Return the requests that create a resource, in order. Raises Misfit for the first property that the API does not have."""
    from tests.helpers.aws_api_operations import CALLS, OURS

    if token not in CALLS:
        raise Misfit(f"{token}: no row has its API operations")
    calls = CALLS[token]
    elsewhere = {name for call in calls for name in call.takes} | OURS.get(token, frozenset())
    made = []
    for call in calls:
        mine = {name: value for name, value in inputs.items() if (name in call.takes if call.takes else name not in elsewhere)}
        if mine or not call.takes:
            made.append(Request(call.service, call.operation, _parameters(call, mine, made_id, token), call.result))
    return made


def called(arn: str, text: str) -> Request:
    """Return the request that a schedule makes from its universal target's ARN and JSON, which is in PascalCase. Raises Misfit."""
    service, operation = arn.split(":")[-2:]
    name = operation[:1].upper() + operation[1:]
    call = Call(service, name)
    return Request(service, name, dict(_convert(call, _operation(service, name).input_shape, json.loads(text), arn)), "")


def problems(request: Request) -> list[str]:
    """Return the problems that botocore's own validator reports."""
    shape = _operation(request.service, request.operation).input_shape
    report = ParamValidator().validate(request.parameters, shape)
    return [f"{request.operation}: {report.generate_report()}"] if report.has_errors() else []


def _parameters(call: Call, inputs: Inputs, made_id: str, token: str) -> dict[str, Any]:
    shape: Any = _operation(call.service, call.operation).input_shape
    given = dict(call.first(inputs, made_id))
    if call.tagged and "tags" in given:
        given["tagSpecifications"] = [{"resourceType": call.tagged, "tags": given.pop("tags")}]
    where = f"{token} -> {call.operation}"
    if not call.under:
        return dict(_convert(call, shape, given, where))
    beside = {name: value for name, value in given.items() if name in call.beside}
    inner = {name: value for name, value in given.items() if name not in call.beside}
    return {**_convert(call, shape, beside, where), call.under: _convert(call, shape.members[call.under], inner, where)}


def _convert(call: Call, shape: Shape, value: Any, where: str) -> Any:
    if shape.type_name == "structure" and isinstance(shape, StructureShape):
        if not isinstance(value, Mapping):
            raise Misfit(f"{where}: a structure in the API, got {value!r:.60}")
        if not shape.members and value:
            raise Misfit(f"{where}: empty in the API, got {', '.join(value)}")
        found = {_member(call, shape, name, where): (name, item) for name, item in value.items() if item is not None}
        return {member: _convert(call, shape.members[member], item, f"{where}.{name}") for member, (name, item) in found.items()}
    inner: Any = shape
    if shape.type_name == "list":
        words = list(inner.member.members) if inner.member.type_name == "structure" else []
        if isinstance(value, Mapping) and len(words) >= 2 and words[0].lower().endswith("key"):  # tags
            key, word = words[:2]
            return [{key: name, word: item} for name, item in value.items()]
        if not isinstance(value, list):
            raise Misfit(f"{where}: a list in the API, got {value!r:.60}")
        return [_convert(call, inner.member, item, f"{where}[{index}]") for index, item in enumerate(value)]
    if shape.type_name == "map":
        return {key: _convert(call, inner.value, item, f"{where}.{key}") for key, item in value.items()}
    return _scalar(shape, value, where)


def _scalar(shape: Shape, value: Any, where: str) -> Any:
    kind = shape.type_name
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"  # Terraform writes some of them as text
    if kind in ("integer", "long") and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind in ("float", "double") and isinstance(value, int):
        return float(value)
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        raise Misfit(f"{where}: got {value!r}, the API has {', '.join(allowed[:12])}")
    return value


def _member(call: Call, shape: StructureShape, name: str, where: str) -> str:
    """Return the API's name of a property: the row's, or the same letters in singular or plural."""
    if name in call.names and call.names[name] in shape.members:
        return call.names[name]
    folded = {str(member).lower(): str(member) for member in shape.members}
    for guess in (name.lower(), name.lower().removesuffix("s"), name.lower() + "s"):
        if guess in folded:
            return folded[guess]
    raise Misfit(f"{where}: the API has no {name}; it has {', '.join(shape.members)}")


@functools.cache
def _operation(service: str, operation: str) -> Any:
    return _session().get_service_model(service).operation_model(operation)


@functools.cache
def _session() -> Any:
    return botocore.session.Session()
