"""A yard without access from the internet, through the real engine: no two of its resources are one resource in Azure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.stack_cases import AZURE
from tests.fakes.pulumi_provider import project

pytestmark = pytest.mark.engine


@pytest.mark.thorough
def test_the_life_of_a_private_yard(tmp_path: Path, engine_environment: dict[str, str]) -> None:
    files = {"Pulumi.yaml": f"name: closed\nruntime: python\nmain: program\nconfig:\n{AZURE.config}"}
    program = "from tests.helpers.azure_private_yard import declare\n\ndeclare()\n"
    yard = project.make(tmp_path, engine_environment, {**files, "program/__main__.py": program})
    yard.pulumi("stack", "init", "test")
    planned = {step["urn"] for step in yard.json("preview")["steps"]}
    yard.up()
    assert set(yard.json("stack", "output")["job_targets"]) == {"h100"}
    assert planned >= set(yard.resources())
    yard.up("--expect-no-changes")
    yard.pulumi("destroy", "--yes", "--skip-preview")
    assert yard.resources() == {}
