"""The stock program on Azure: both stack files have a plan without a violation, and export what their users need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpuyard.components.planning.clouds import azure
from gpuyard.stacks.cli.plan import plan
from gpuyard.stacks.cli.pulumi_project import load_project
from gpuyard.stacks.program import declare
from gpuyard.stacks.settings import load

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("stack", "services"), [("dev-azure", {"azureml"}), ("prod-azure", {"azureml", "vms"})])
def test_a_stack_file_has_a_plan_without_a_violation(stack: str, services: set[str]) -> None:
    document = plan(stack, ROOT)
    assert [verdict for verdict in document.policy if verdict.outcome == "violated"] == []
    assert {fabric.card for fabric in document.fabric} == {azure.RULES.fast_card}
    assert document.money.idle.high is not None  # the price of every standing resource is known
    named = {need.name.partition(":")[0] for need in document.quota}
    assert ("azureml" in named) == ("azureml" in services)


@pytest.mark.parametrize("preview", [False, True])
def test_the_exports_of_prod_azure(record: Any, preview: bool) -> None:
    project = load_project(ROOT, "prod-azure")
    recorded = record(lambda: declare(load(project.config, stack="prod-azure")), preview=preview, config=project.config)
    assert set(recorded.exports) | recorded.unknown >= {"yard", "job_targets", "launchers", "publish_targets", "submitter_role"}
    if not preview:
        assert recorded.exports["job_targets"]["h100"]["region"] == "eastus2"
        assert "az vmss scale" in recorded.exports["launchers"]["h200"]["scale"]
