"""The stock program on Azure: both stack files have a plan without a violation, and export what their users need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpuyard.components.planning.clouds import azure
from gpuyard.stacks.cli.plan import plan
from gpuyard.stacks.cli.pulumi_project import load_project
from gpuyard.stacks.program import declare
from gpuyard.stacks.settings import load
from gpuyard.training_jobs.errors import UsageError

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


SSH = {"public_key": f"ssh-ed25519 {'A' * 68}", "sources": ["10.60.254.0/26"]}


def with_ssh(ssh: Any) -> dict[str, str]:
    return {**load_project(ROOT, "prod-azure").config, "gpuyard:ssh": json.dumps(ssh)}


def test_ssh_of_a_stack_file_reaches_the_machines(record: Any) -> None:
    config = with_ssh(SSH)
    recorded = record(lambda: declare(load(config, stack="prod-azure")), config=config)
    rules = recorded.inputs("azure-native:network:NetworkSecurityGroup", "net-nodes")["securityRules"]
    [rule] = [each for each in rules if each["name"] == "ssh-in"]
    assert (rule["destinationPortRange"], rule["sourceAddressPrefixes"], rule["protocol"]) == ("22", SSH["sources"], "Tcp")
    profile = recorded.inputs("azure-native:compute:VirtualMachineScaleSet", "h200-machines")["virtualMachineProfile"]
    keys = profile["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"]
    assert [key["keyData"] for key in keys] == [SSH["public_key"]]
    assert "az vmss run-command invoke" in recorded.exports["launchers"]["h200"]["reach"]


@pytest.mark.parametrize(
    ("ssh", "message"),
    [
        ({**SSH, "sources": ["203.0.112.0/24"]}, "gpuyard:ssh.sources.0: wrong value, got '203.0.112.0/24', allowed: a private network"),
        ({**SSH, "public_key": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "write the public key, never the private key"),
        ({**SSH, "sources": []}, "gpuyard:ssh.sources"),
    ],
)
def test_wrong_ssh_access_is_refused(ssh: Any, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(with_ssh(ssh), stack="prod-azure")
    assert message in str(refused.value)
    assert "PRIVATE KEY-----" not in str(refused.value)


def test_ssh_is_refused_on_aws() -> None:
    config = {**load_project(ROOT, "prod-aws").config, "gpuyard:ssh": json.dumps(SSH)}
    with pytest.raises(UsageError, match="on aws machines are reached through Session Manager; remove ssh"):
        load(config, stack="prod-aws")
