"""The engine previews what `gpuyard init` writes, for each cloud with the strict stand-in provider."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from gpuyard.stacks.cli.plan import plan
from gpuyard.stacks.new_repository import CLOUDS, repository_files
from tests.fakes.pulumi_provider import project

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_preview_creates_what_the_plan_says(cloud: str, tmp_path: Path, engine_environment: dict[str, str]) -> None:
    files = repository_files(cloud, "nlp-yard", "ml@acme.io", datetime.datetime.now(datetime.UTC).date())
    files["Pulumi.yaml"] = "name: nlp-yard\nruntime: python\n"  # the Python of this test, not a new .venv
    made = project.make(tmp_path, engine_environment, files)
    made.pulumi("stack", "init", "dev")
    preview = made.json("preview")
    assert set(preview["changeSummary"]) == {"create"}
    stack = "urn:pulumi:dev::nlp-yard::pulumi:pulumi:Stack::nlp-yard-dev"
    assert {step["urn"] for step in preview["steps"]} == {stack, *(resource.urn for resource in plan("dev", made.root).resources)}
