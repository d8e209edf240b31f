"""The recording of a program: the requests that it sent to the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pulumi.runtime import rpc
from pulumi.runtime.proto import resource_pb2

from ...plain_data import PlainDict

__all__ = ["Recording", "properties"]

_T = TypeVar("_T")


@dataclass
class Recording:
    """The resources and exports of a program, and the requests that a plan cannot answer."""

    resources: dict[str, resource_pb2.RegisterResourceRequest] = field(default_factory=dict)
    """URN -> request."""
    component_outputs: dict[str, PlainDict] = field(default_factory=dict)
    """URN -> outputs."""
    exports: PlainDict = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    """Names of exports whose values are not known yet."""
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Errors that the engine or a provider would report: a repeated URN, a reference to a missing resource, wrong arguments."""
    lookups: list[str] = field(default_factory=list)
    """Provider functions and remote components in the order of the calls. Their results are unknown in a preview."""
    references: list[str] = field(default_factory=list)
    """Other stacks whose outputs the program reads. The outputs are unknown in a preview."""
    reads: list[str] = field(default_factory=list)
    """Existing resources that the program reads (`Name.get`). Their properties are unknown in a preview."""

    def one(self, kind: str, name: str) -> resource_pb2.RegisterResourceRequest:
        """Return the only resource of a type and name. Raises LookupError unless there is exactly one."""
        found = [request for request in self.resources.values() if request.type == kind and request.name == name]
        return _only(found, f"resources {kind} {name}")

    def inputs(self, kind: str, name: str) -> PlainDict:
        """Return the inputs of the only resource of a type and name. The keys are the names in Pulumi's schema."""
        return properties(self.one(kind, name).object)

    def outputs(self, kind: str) -> PlainDict:
        """Return the outputs of the only component of a type."""
        found = [outputs for urn, outputs in self.component_outputs.items() if urn.split("::")[2].endswith(kind)]
        return dict(_only(found, f"components {kind}"))


def _only(found: Sequence[_T], what: str) -> _T:
    if len(found) != 1:
        raise LookupError(f"{len(found)} {what}")
    return found[0]


def properties(struct: Any) -> PlainDict:
    """Return a request's properties (a protobuf Struct) as plain data; an unknown value becomes a `pulumi.output.Unknown`."""
    return dict(rpc.deserialize_properties(struct, keep_unknowns=True))
