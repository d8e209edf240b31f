"""Recordings of the committed stacks and of a private Azure yard as updates, with the resource that each id, ARN and name comes from."""

from __future__ import annotations

import json
from pathlib import Path

from gpuyard.components.planning.recorder import Answers, Recording, record
from gpuyard.stacks.program import declare
from gpuyard.stacks.settings import load
from gpuyard.training_jobs.strict_yaml import read_yaml
from tests.fakes.pulumi_provider.answers import Origin, TracedOutputs
from tests.helpers.azure_private_yard import declare as declare_closed

__all__ = ["CHECKOUT", "CLOSED", "CLOUDS", "YARDS", "Origin", "TracedOutputs", "closed_azure", "config", "recorded"]

CHECKOUT = Path(__file__).resolve().parents[2]
CLOUDS = ("aws", "gcp", "azure")
CLOSED = "closed-azure"
YARDS = {cloud: (f"dev-{cloud}", f"prod-{cloud}") for cloud in CLOUDS}


def config(stack: str) -> dict[str, str]:
    """Return the configuration of a stack file as the engine gives it to the program."""
    document, _ = read_yaml(CHECKOUT / "stacks" / f"Pulumi.{stack}.yaml", pulumi=True)
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in document["config"].items()}


def closed_azure(answers: Answers | None = None) -> Recording:
    """Record the program of tests/helpers/azure_private_yard.py with the configuration of the dev stack."""
    given = {key: value for key, value in config("dev-azure").items() if key.startswith("azure-native:")}
    found = record(declare_closed, answers or TracedOutputs(), project="gpuyard", stack=CLOSED, config=given, root=CHECKOUT)
    assert found.problems == []
    return found


def recorded(stack: str, answers: Answers | None = None) -> Recording:
    """Record the stock program for a stack."""
    if stack == CLOSED:
        return closed_azure(answers)
    given = config(stack)
    found = record(
        lambda: declare(load(given, stack=stack)), answers or TracedOutputs(), project="gpuyard", stack=stack, config=given, root=CHECKOUT
    )
    assert found.problems == []
    return found
