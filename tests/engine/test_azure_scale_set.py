"""The scale set of a `vms` pool, through the real engine: a change of the yard keeps the machines that a launcher has started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine.stack_cases import AZURE
from tests.fakes.pulumi_provider import project
from tests.fakes.pulumi_provider.resource_rules import digits

pytestmark = pytest.mark.engine
PROGRAM = """
import pulumi
from gpuyard.azure import GpuPool, Network
from tests.helpers.azure_sample_yard import SUBNET, VMS, VNET

tags = {"owner": pulumi.Config().require("owner"), "expires": "never"}
GpuPool("lab", VMS, network=Network.adopt("hub", vpc_id=VNET, subnet_ids={"1": SUBNET}), tags=tags)
"""


@pytest.mark.thorough
def test_a_change_of_tags_keeps_the_machines(tmp_path: Path, engine_environment: dict[str, str]) -> None:
    files = {"Pulumi.yaml": f"name: own\nruntime: python\nmain: program\nconfig:\n{AZURE.config}", "program/__main__.py": PROGRAM}
    yard = project.make(tmp_path, engine_environment, files)
    yard.pulumi("stack", "init", "test")
    yard.pulumi("config", "set", "owner", "a@acme.io")
    yard.up()
    assert machines(yard)["inputs"]["sku"]["capacity"] == 0
    scale(yard, 3)
    yard.pulumi("config", "set", "owner", "b@acme.io")
    yard.up()
    assert (machines(yard)["inputs"]["sku"]["capacity"], machines(yard)["inputs"]["tags"]["owner"]) == (3, "b@acme.io")
    scale(yard, 2)
    yard.up("--refresh")
    assert machines(yard)["inputs"]["sku"]["capacity"] == 2


def machines(yard: project.Project) -> dict[str, Any]:
    """Return the scale set in the fake cloud."""
    [found] = [each for each in yard.resources().values() if each["type"].endswith("VirtualMachineScaleSet")]
    return found


def scale(yard: project.Project, number: int) -> None:
    """Change the number of machines as `az vmss scale` does."""
    found = machines(yard)
    for part in ("inputs", "outputs"):
        found[part]["sku"]["capacity"] = number
    (yard.cloud / f"{digits(found['type'], found['id'])}.json").write_text(json.dumps(found), encoding="utf-8")
