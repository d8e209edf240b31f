"""Makes outputs of resources and look-ups for recordings without an engine, and records which resource each value comes from."""

from __future__ import annotations

from typing import Any, NamedTuple

from pulumi.runtime import mocks

from gpuyard.components.planning.recorder import Answers
from tests.fakes.pulumi_provider import resource_rules, sdk_check

_PLACES = ("modelPackageGroupName", "url", "project", "zone", "region", "resourceGroupName")  # further properties that are part of an id


class Origin(NamedTuple):
    """The output of a resource that a value comes from."""

    token: str
    name: str
    attribute: str


class TracedOutputs(Answers):
    """Answers of an update, in the clouds' forms. Each id, ARN and name belongs to one resource, and `origins` maps it there."""

    preview = False

    def __init__(self) -> None:
        self.origins: dict[str, Origin] = {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Return a resource's id and outputs: its inputs, and made-up values for all other outputs. Texts are unique."""
        if args.typ.partition(":")[0] not in resource_rules.PACKAGES:
            return f"{args.name}-id", args.inputs
        shape, model, outputs = resource_rules.of(args.typ), sdk_check.resource(args.typ), dict(args.inputs)
        label = shape.key(args.typ)
        if label in model.inputs and label not in outputs and not outputs.get(f"{label}Prefix"):
            outputs[label] = f"{args.name}-{resource_rules.digits(args.typ, args.name)[:7]}"
        named = {key: outputs[key] for key in (label, *_PLACES, *shape.places(args.typ)) if key in outputs}
        made_id, where = shape.made(args.typ, f"{args.typ}::{args.name}", named)
        empty = {"str": f"{made_id}/", "int": 1, "float": 1.0, "bool": False, "list": []}
        for name, each in model.outputs.items():
            if each.required and name not in outputs:
                value = empty.get(each.kind.word, {})
                own = value + name if isinstance(value, str) else value
                outputs[name] = where.get(name) or (made_id if name == "keyId" else own)
        outputs |= shape.shown(made_id, args.inputs)
        for name, value in {"id": made_id, **where}.items():
            if value not in args.inputs.values():  # a name that the program chose appears elsewhere too
                self.origins[value] = Origin(args.typ, args.name, name)
        return made_id, outputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Return the provider's result of a look-up. A look-up of a resource that may be missing finds none."""
        shape = resource_rules.of(args.token)
        if args.token in shape.read_by:
            return {}, [("", "Status=404 Code=ResourceNotFound")]
        return {**shape.look_ups[args.token], **args.args}, []
