"""The baseline of plan_program.py: a program that registers recorded resources with the plain Pulumi SDK.

It passes outputs on as a hand-written program does, registers the components' outputs and exports the stack's. A text that contains an
id, an account or a region is assembled from outputs. Each top-level component looks up its account and region itself, with itself as
parent, because it cannot know which provider its user configures.
"""

from __future__ import annotations

import functools
import importlib
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import _types

from benchmarks.fakes import pulumi_outputs as fake
from benchmarks.fakes.pulumi_outputs import Origin, resource_class
from gpuyard.components.planning.recorder import Recording, properties

_CLIENT = "get_client_config_output"
# The look-up results that appear in texts: package -> pattern -> (service and look-up, attribute).
_PLACES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "aws": {
        fake.AWS_ACCOUNT: ("get_caller_identity_output", "account_id"),
        rf"\b{fake.AWS_REGION}(?![a-z])": ("get_region_output", "region"),
        rf"(?<=arn:){fake.AWS_PARTITION}(?=:)": ("get_partition_output", "partition"),
    },
    "gcp": {
        fake.GCP_PROJECT: (f"organizations.{_CLIENT}", "project"),
        fake.GCP_NUMBER: ("organizations.get_project_output", "number"),
    },
    "azure-native": {
        fake.AZURE_SUBSCRIPTION: (f"authorization.{_CLIENT}", "subscription_id"),
        fake.AZURE_TENANT: (f"authorization.{_CLIENT}", "tenant_id"),
    },
}


class _Finder:
    """Finds the outputs in a text. It searches by prefix, because one pattern of all outputs would try thousands."""

    def __init__(self, origins: Mapping[str, Origin], package: str) -> None:
        self._origins, self._looked_up = origins, _PLACES[package]
        self._first = min(map(len, origins))
        self._lengths: dict[str, list[int]] = {}
        for length, first in sorted({(len(text), text[: self._first]) for text in origins}, reverse=True):
            self._lengths.setdefault(first, []).append(length)
        self._places = re.compile("|".join(self._looked_up))

    def found(self, text: str) -> Iterator[tuple[int, int, Origin]]:
        """Yield start, end and origin of each output in the text. The longest match wins."""
        places = {match.start(): match.end() for match in self._places.finditer(text)}
        at = 0
        while at < len(text):
            lengths = self._lengths.get(text[at : at + self._first], ())
            end = next((at + length for length in lengths if text[at : at + length] in self._origins), places.get(at))
            if end is not None:
                yield at, end, self._origin(text[at:end])
            at = end or at + 1

    def _origin(self, text: str) -> Origin:
        """Return the origin of a matched text: a resource output or, without a resource type (an empty token), a look-up."""
        if text in self._origins:
            return self._origins[text]
        look_up, attribute = next(found for pattern, found in self._looked_up.items() if text in pattern)
        return Origin("", look_up, attribute)


@dataclass(frozen=True)
class _Line:
    """One registration: the class, the name, the parent and the inputs. `parts` are the inputs that contain outputs."""

    urn: str
    make: Callable[..., Any]
    name: str
    parent: str
    inputs: Mapping[str, Any]
    parts: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class _Text:
    """A text that contains outputs: constant pieces and origins, in order."""

    pieces: tuple[str | Origin, ...]


def program(recording: Recording, origins: Mapping[str, Origin]) -> Callable[[], None]:
    """Return a program that registers the same resources."""
    package = next(request.type.partition(":")[0] for request in recording.resources.values() if request.custom)
    finder = _Finder(origins, package)
    by_token = {(request.type, request.name): urn for urn, request in recording.resources.items()}
    lines = _in_order([_line(urn, request, finder) for urn, request in recording.resources.items()], by_token)
    tops = {line.urn: _top(line.urn, recording) for line in lines}
    told = {urn: _parsed(value, finder) for urn, value in recording.component_outputs.items() if urn in tops}
    exports = {name: _parsed(value, finder) for name, value in recording.exports.items()}
    depth = {line.urn: line.urn.split("::")[2].count("$") for line in lines}

    def run() -> None:
        sdk = importlib.import_module(_sdk(package))
        made: dict[str, Any] = {}
        looked_up: dict[tuple[str, str], Any] = {}

        def output(origin: Origin, top: str) -> Any:
            if origin.token:
                return getattr(made[by_token[origin.token, origin.name]], _snake(origin.attribute))
            if (top, origin.name) not in looked_up:
                looked_up[top, origin.name] = operator.attrgetter(origin.name)(sdk)(opts=pulumi.InvokeOptions(parent=made[top]))
            return getattr(looked_up[top, origin.name], origin.attribute)

        for line in lines:
            given = {name: _filled(value, functools.partial(output, top=tops[line.urn])) for name, value in line.parts.items()}
            options = pulumi.ResourceOptions(parent=made.get(line.parent), **line.options)
            made[line.urn] = _inside(depth[line.urn], functools.partial(line.make, line.name, opts=options, **line.inputs, **given))
        for urn, value in told.items():
            made[urn].register_outputs(_filled(value, functools.partial(output, top=tops[urn])))
        for name, value in exports.items():
            pulumi.export(name, _filled(value, functools.partial(output, top=next(iter(tops.values())))))

    return run


def _in_order(lines: list[_Line], by_token: Mapping[tuple[str, str], str]) -> list[_Line]:
    """Sort the registrations so that each follows those whose outputs it uses."""
    left, ordered, done = list(lines), list[_Line](), set[str]()
    known = {line.urn for line in lines}
    while left:
        ready = [line for line in left if not (_needs(line, by_token) & known) - done]
        if not ready:
            raise AssertionError(f"these resources depend on each other in a circle: {[line.urn for line in left]}")
        ordered += ready
        done |= {line.urn for line in ready}
        left = [line for line in left if line.urn not in done]
    return ordered


def _needs(line: _Line, by_token: Mapping[tuple[str, str], str]) -> set[str]:
    return {line.parent} | {by_token[origin.token, origin.name] for origin in _origins(line.parts) if origin.token}


def _origins(value: Any) -> Iterator[Origin]:
    if isinstance(value, _Text):
        yield from (piece for piece in value.pieces if isinstance(piece, Origin))
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _origins(item)


def _inside(depth: int, make: Callable[[], Any]) -> Any:
    """Call `make` from `depth` nested frames, as in components that are nested by hand: Pulumi records every frame's source."""
    return _inside(depth - 1, make) if depth else make()


def _top(urn: str, recording: Recording) -> str:
    """Return the URN of the top-level component that contains a resource."""
    parent = recording.resources[urn].parent
    return _top(parent, recording) if parent in recording.resources else urn


def check_same(one: Recording, other: Recording) -> None:
    """Raise AssertionError unless both recordings have the same resources, inputs and outputs."""
    if (one.component_outputs, one.exports) != (other.component_outputs, other.exports):
        raise AssertionError("the outputs differ")
    if set(one.resources) != set(other.resources):
        raise AssertionError(sorted(set(one.resources) ^ set(other.resources))[:5])
    for urn, request in one.resources.items():
        if request.custom and properties(request.object) != properties(other.resources[urn].object):
            raise AssertionError(f"{urn}\n{properties(request.object)}\n{properties(other.resources[urn].object)}")


def _line(urn: str, request: Any, finder: _Finder) -> _Line:
    make = resource_class(request.type) if request.custom else functools.partial(_Component, request.type)
    wire = properties(request.object)
    named = {_python(make, name): value for name, value in wire.items()} if request.custom else {"props": wire}
    parsed = {name: _parsed(value, finder) for name, value in named.items()} if request.custom else named
    parts = {name: value for name, value in parsed.items() if _has_output(value)}
    options = {"retain_on_delete": True} if request.retainOnDelete else {}
    return _Line(urn, make, request.name, request.parent, {name: named[name] for name in named if name not in parts}, parts, options)


class _Component(pulumi.ComponentResource):
    """A component class. For a bare ComponentResource Pulumi records no source, which is most of the cost of registering one."""

    def __init__(self, token: str, name: str, *, opts: pulumi.ResourceOptions, props: Mapping[str, Any]) -> None:
        super().__init__(token, name, dict(props), opts)


def _sdk(package: str) -> str:
    return f"pulumi_{package.replace('-', '_')}"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _python(make: Any, wire: str) -> str:
    """Return the SDK's Python name of a property."""
    return _names(make)[wire]


@functools.cache
def _names(make: Any) -> dict[str, str]:
    """Return the Python name of each argument by its wire name. Some arguments, such as parts of an Azure path, are no properties."""
    home = vars(sys.modules[make.__module__])
    arguments = home.get(f"{make.__name__}InitArgs") or home[f"{make.__name__}Args"]
    return {wire: python for python, wire, _ in _types._py_properties(arguments)}


def _parsed(value: Any, finder: _Finder) -> Any:
    if isinstance(value, str):
        found = list(finder.found(value))
        if not found:
            return value
        pieces: list[str | Origin] = []
        at = 0
        for start, end, origin in found:
            pieces += [value[at:start], origin]
            at = end
        return _Text(tuple(piece for piece in [*pieces, value[at:]] if piece != ""))
    if isinstance(value, Mapping):
        return {key: _parsed(item, finder) for key, item in value.items()}
    return [_parsed(item, finder) for item in value] if isinstance(value, list) else value


def _has_output(value: Any) -> bool:
    return any(True for _ in _origins(value))


def _filled(value: Any, output: Callable[[Origin], Any]) -> Any:
    if isinstance(value, _Text):
        pieces = [output(piece) if isinstance(piece, Origin) else piece for piece in value.pieces]
        return pieces[0] if len(pieces) == 1 else pulumi.Output.concat(*pieces)
    if isinstance(value, Mapping):
        return {key: _filled(item, output) for key, item in value.items()}
    return [_filled(item, output) for item in value] if isinstance(value, list) else value
