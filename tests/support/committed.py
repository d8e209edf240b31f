"""The yards of the committed stacks, recorded as updates; of each id, ARN and name it is known whose it is."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from components.planning.monitor import Answers, Recording, record
from stacks.program import declare
from stacks.settings import load
from tests.support.standin.answers import Origin, Referring

__all__ = ["CHECKOUT", "CLOUDS", "YARDS", "Origin", "Referring", "config", "recorded"]

CHECKOUT = Path(__file__).resolve().parents[2]
CLOUDS = ("aws", "gcp", "azure")
YARDS = {cloud: (f"dev-{cloud}", f"prod-{cloud}") for cloud in CLOUDS}


def config(stack: str) -> dict[str, str]:
    """The configuration of a stack file, as the engine hands it to the program."""
    document = yaml.safe_load((CHECKOUT / "stacks" / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in document["config"].items()}


def recorded(stack: str, answers: Answers | None = None) -> Recording:
    """What the stock program registers for a stack."""
    given = config(stack)
    found = record(
        lambda: declare(load(given, stack=stack)), answers or Referring(), project="gpuyard", stack=stack, config=given, root=CHECKOUT
    )
    assert found.problems == []
    return found
