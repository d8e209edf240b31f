"""Checks of a stack on Azure against answers in the form of Azure Resource Manager. Every call only reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpuyard.components.azure.names import scale_set_name
from gpuyard.components.planning.recorder import Answers
from gpuyard.components.planning.regions import default_regions
from gpuyard.components.planning.yard import RecordedYard
from gpuyard.stacks.checks import CLOUDS, StackFacts
from gpuyard.stacks.checks.azure import checks
from gpuyard.training_jobs.errors import AuthError
from gpuyard.training_jobs.target import JobTarget
from tests.helpers import committed_stacks
from tests.helpers.azureml_pool import make_target

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"
STACK = "prod-azure"
POOL = scale_set_name("gpuyard/prod-azure", "h200")


def usage(name: str, limit: int) -> dict[str, Any]:
    return {"name": {"value": name, "localizedValue": name}, "limit": limit, "currentValue": 0, "unit": "Count"}


HEALTHY: dict[str, Any] = {
    "": {"displayName": "acme", "state": "Enabled"},
    "/providers/Microsoft.Authorization/permissions": {"value": [{"actions": ["*"], "notActions": []}]},
    "/providers/Microsoft.Features/providers/Microsoft.Compute/features/EncryptionAtHost": {"properties": {"state": "Registered"}},
    "/providers/Microsoft.Compute/locations/eastus2/usages": {"value": [usage("standardNDISRH200V5Family", 384)]},
    "/providers/Microsoft.MachineLearningServices/locations/eastus2/usages": {"value": [usage("Total Low-Priority vCPUs", 384)]},
    "/providers/Microsoft.KeyVault/deletedVaults": {"value": []},
    "/providers/Microsoft.Compute/virtualMachineScaleSets": {"value": []},
}
SCALE_SET = "/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets"


def repairs(state: str) -> dict[str, Any]:
    """Return the answers for the scale set of the stack's `vms` pool with this state of its automatic repairs."""
    view = {"orchestrationServices": [{"serviceName": "AutomaticRepairs", "serviceState": state}]}
    listed = [{"name": name, "id": f"{SUBSCRIPTION}{SCALE_SET}/{name}"} for name in ("other", POOL)]
    return {"/providers/Microsoft.Compute/virtualMachineScaleSets": {"value": listed}, f"{SCALE_SET}/{POOL}/instanceView": view}


def found(changes: dict[str, Any] | None = None, targets: Mapping[str, JobTarget] | None = None) -> dict[str, Any]:
    """Return the checks of the stack by name. An answer that is an exception is raised."""
    config = committed_stacks.config(STACK)
    answers = {**HEALTHY, **(changes or {})}

    def call(verb: str, url: str, *, audience: str) -> Any:
        assert (verb, audience) == ("GET", "https://management.azure.com")
        path = url.removeprefix(f"{audience}{SUBSCRIPTION}").partition("?")[0]
        answer = answers.get(path, {"registrationState": "Registered"} if path.startswith("/providers/") else None)
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None, path
        return SimpleNamespace(json=lambda: answer)

    yard = RecordedYard("gpuyard", STACK, default_regions(config), committed_stacks.recorded(STACK, Answers()))
    clients: Any = SimpleNamespace(call=call)
    return {check.name: check for check in checks(StackFacts(yard, config, targets), clients)}


def test_a_ready_subscription_has_no_fix() -> None:
    every = found()
    assert [check for check in every.values() if not check.ok or check.fix] == []
    providers = {name.partition(" ")[2] for name in every if name.startswith("provider")}
    assert providers >= {"Microsoft.Compute", "Microsoft.MachineLearningServices", "Microsoft.Storage", "Microsoft.Network"}
    assert "the pools h200 need 384" in every["quota standardNDISRH200V5Family"].detail
    assert CLOUDS["azure"] == ".azure"


@pytest.mark.parametrize(
    ("changes", "name", "fix"),
    [
        ({"": {"displayName": "acme", "state": "Disabled"}}, "subscription", "enable the subscription"),
        (
            {
                "/providers/Microsoft.Authorization/permissions": {
                    "value": [{"actions": ["*"], "notActions": ["Microsoft.Authorization/*/Write"]}]
                }
            },
            "rights",
            "ask for Owner",
        ),
        (
            {"/providers/Microsoft.Authorization/permissions": {"value": [{"actions": ["Microsoft.Authorization/roleAssignments/*"]}]}},
            "rights",
            "ask for Owner",
        ),
        (repairs("Suspended"), f"pool {POOL}", f"set-orchestration-service-state --ids {SUBSCRIPTION}{SCALE_SET}/{POOL} "),
        ({"/providers/Microsoft.Storage": {"registrationState": "NotRegistered"}}, "provider Microsoft.Storage", "az provider register"),
        (
            {
                "/providers/Microsoft.Features/providers/Microsoft.Compute/features/EncryptionAtHost": {
                    "properties": {"state": "NotRegistered"}
                }
            },
            "encryption at host",
            "az feature register",
        ),
        (
            {"/providers/Microsoft.Compute/locations/eastus2/usages": {"value": [usage("standardNDISRH200V5Family", 96)]}},
            "quota standardNDISRH200V5Family",
            "request 384 vCPU in eastus2",
        ),
        ({"/providers/Microsoft.Authorization/permissions": AuthError("403: no")}, "rights", "ask for this permission"),
    ],
)
def test_each_obstacle_has_a_fix(changes: dict[str, Any], name: str, fix: str) -> None:
    check = found(changes)[name]
    assert not check.ok
    assert check.fix is not None
    assert fix in check.fix


def test_the_pool_of_a_stack_that_is_up_replaces_broken_machines() -> None:
    assert f"pool {POOL}" not in found()
    assert found(repairs("Running"))[f"pool {POOL}"].ok


@pytest.mark.parametrize(("size", "ok"), [("STANDARD_ND96ISR_H100_V5", True), ("Standard_NC24ads_A100_v4", False)])
def test_a_cluster_that_kept_its_old_machine_is_reported(tmp_path: Path, size: str, ok: bool) -> None:
    cluster = "/resourceGroups/yard/providers/Microsoft.MachineLearningServices/workspaces/train/computes/h100"
    answer = {cluster: {"properties": {"properties": {"vmSize": size}}}}
    check = found(answer, {"h100": make_target(f"file://{tmp_path}")})["pool h100"]
    assert check.ok == ok
    assert ok or (check.fix or "").startswith("az ml compute delete --name h100 --workspace-name train --resource-group yard")
