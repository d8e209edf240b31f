"""The yards of the committed AWS stacks, recorded as updates; of each id, ARN and name it is known whose it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pulumi.runtime import mocks

from components.planning.monitor import Answers, Recording, record
from stacks.program import declare
from stacks.settings import load
from tests.support.standin import sdk, shapes

CHECKOUT = Path(__file__).resolve().parents[2]
YARDS = ("dev-aws", "prod-aws")


def config(stack: str) -> dict[str, str]:
    """The configuration of a stack file, as the engine hands it to the program."""
    document = yaml.safe_load((CHECKOUT / "stacks" / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in document["config"].items()}


class Origin(NamedTuple):
    """Where a value comes from: an output of a resource."""

    token: str
    name: str
    attribute: str


class Referring(Answers):
    """Answers of an update, shaped as AWS shapes them; each id, ARN and name is one resource's own, and `origins` says whose."""

    preview = False

    def __init__(self) -> None:
        self.origins: dict[str, Origin] = {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Inputs as they are; a name where the provider gives one; what AWS computes: a text of its own, a number 1, or empty."""
        if not args.typ.startswith("aws:"):
            return f"{args.name}-id", args.inputs
        model, label, outputs = sdk.resource(args.typ), shapes.NAME_OF.get(args.typ, "name"), dict(args.inputs)
        if label in model.inputs and label not in outputs and not outputs.get(f"{label}Prefix"):
            outputs[label] = f"{args.name}-{shapes.digits(args.typ, args.name)[:7]}"
        named = {key: outputs[key] for key in (label, "modelPackageGroupName", "url") if key in outputs}
        made_id, arn = shapes.made(args.typ, f"{args.typ}::{args.name}", named)
        empty = {"str": f"{made_id}/", "int": 1, "float": 1.0, "bool": False, "list": []}
        for name, each in model.outputs.items():
            if each.required and name not in outputs:
                value = empty.get(each.kind.word, {})
                outputs[name] = {"arn": arn, "keyId": made_id}.get(name) or (value + name if isinstance(value, str) else value)
        if made_id not in args.inputs.values():  # a name that the program itself gave is in others without being of this one
            self.origins[made_id] = Origin(args.typ, args.name, "id")
        self.origins[arn] = Origin(args.typ, args.name, "arn")
        return made_id, outputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The stand-in's answers."""
        return {**shapes.LOOK_UPS[args.token], **args.args}, []


def recorded(stack: str, answers: Answers | None = None) -> Recording:
    """What the stock program registers for a stack."""
    given = config(stack)
    found = record(
        lambda: declare(load(given, stack=stack)), answers or Referring(), project="gpuyard", stack=stack, config=given, root=CHECKOUT
    )
    assert found.problems == []
    return found
