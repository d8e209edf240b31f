"""What a program asked of the engine that was not there, as it goes over the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pulumi.runtime import rpc


@dataclass
class Recording:
    """What a program registered: resources with their options, outputs, and what it asked that nobody here can answer."""

    resources: dict[str, Any] = field(default_factory=dict)  # urn -> request
    component_outputs: dict[str, Any] = field(default_factory=dict)  # urn -> outputs
    exports: dict[str, Any] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)  # exports that are not known yet
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What an engine or a provider would refuse: two resources of one URN, a URN that nothing has, arguments the SDK does not know."""
    lookups: list[str] = field(default_factory=list)
    """Functions of providers and remote components that the program called, in that order; unknown in a preview."""
    references: list[str] = field(default_factory=list)
    """Other stacks whose outputs the program reads; unknown in a preview."""
    reads: list[str] = field(default_factory=list)
    """Resources that exist already and are only read (`Name.get`); unknown in a preview."""

    def one(self, kind: str, name: str) -> Any:
        """The only resource of a type and name."""
        found = [request for request in self.resources.values() if request.type == kind and request.name == name]
        return _only(found, f"resources {kind} {name}")

    def inputs(self, kind: str, name: str) -> dict[str, Any]:
        """Its inputs, as they go over the wire."""
        return properties(self.one(kind, name).object)

    def outputs(self, kind: str) -> dict[str, Any]:
        """The outputs of the only component of a type."""
        found = [outputs for urn, outputs in self.component_outputs.items() if urn.split("::")[2].endswith(kind)]
        return dict(_only(found, f"components {kind}"))


def _only(found: list[Any], what: str) -> Any:
    if len(found) != 1:
        raise LookupError(f"{len(found)} {what}")
    return found[0]


def properties(wire: Any) -> dict[str, Any]:
    """Properties of a request as plain data; what is not known yet is a `pulumi.output.Unknown`."""
    return dict(rpc.deserialize_properties(wire, keep_unknowns=True))
