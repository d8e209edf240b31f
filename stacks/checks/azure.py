"""Checks of a stack on Azure: subscription, rights, providers, features, quotas, soft-deleted vaults and targets. Each call only reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial

from gpuyard.components.planning.document import Need
from gpuyard.plain_data import PlainDict
from gpuyard.training_jobs.clouds.azure import AzureClients, azure_clients
from gpuyard.training_jobs.target import AzureMlTarget

from .check import Check, StackFacts
from .common import quotas_to_request, run_checks, targets_check

__all__ = ["checks"]

_ARM = "https://management.azure.com"
_GRANTS = ("Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleDefinitions/write")
_SCALE_SET = "azure-native:compute:VirtualMachineScaleSet"
_NAMESPACES = {
    "applicationinsights": "Microsoft.Insights",
    "compute": "Microsoft.Compute",
    "containerregistry": "Microsoft.ContainerRegistry",
    "keyvault": "Microsoft.KeyVault",
    "logic": "Microsoft.Logic",
    "machinelearningservices": "Microsoft.MachineLearningServices",
    "managedidentity": "Microsoft.ManagedIdentity",
    "monitor": "Microsoft.Insights",
    "network": "Microsoft.Network",
    "operationalinsights": "Microsoft.OperationalInsights",
    "privatedns": "Microsoft.Network",
    "storage": "Microsoft.Storage",
}
"""Module of a type token -> resource provider, which a subscription must have registered."""


def checks(facts: StackFacts, azure: AzureClients | None = None) -> Iterator[Check]:
    """Yield every check of the stack. `azure` replaces this process's clients."""
    location = facts.yard.regions.get("azure")
    subscription = facts.config.get("azure-native:subscriptionId") or os.environ.get("ARM_SUBSCRIPTION_ID")
    if not location or not subscription:
        key = "azure-native:subscriptionId" if location else "azure-native:location"
        yield Check("subscription", False, f"{key} is not set", "set it in the stack file")
        return
    account = _Account(azure or azure_clients(), subscription)
    rows: list[tuple[str, Callable[[], Check | None]]] = [
        ("subscription", lambda: _subscription(account)),
        ("rights", lambda: _rights(account)),
        *((f"provider {name}", partial(_provider, name, account)) for name in _namespaces(facts)),
        ("encryption at host", lambda: _encryption_at_host(facts, account)),
        *((f"quota {need.code or need.name}", partial(_quota, need, location, account)) for need in quotas_to_request(facts, location)),
        *((f"vault {name}", partial(_vault, name, account)) for name in _vaults(facts)),
        *((f"pool {name}", partial(_repairs, name, account)) for name in _scale_sets(facts)),
        *((f"pool {target.pool}", partial(_cluster, target, account)) for target in _clusters(facts)),
        (
            "targets.json",
            lambda: targets_check(facts, f"pulumi stack output publish_targets --stack {facts.yard.stack}, and run the line"),
        ),
    ]
    yield from run_checks(rows)


class _Account:
    """A subscription, read through Azure Resource Manager."""

    def __init__(self, azure: AzureClients, subscription: str) -> None:
        self._azure, self.subscription = azure, subscription

    def get(self, path: str, version: str) -> PlainDict:
        """Return the document at a path below the subscription."""
        url = f"{_ARM}/subscriptions/{self.subscription}{path}?api-version={version}"
        return dict(self._azure.call("GET", url, audience=_ARM).json())


def _subscription(account: _Account) -> Check:
    found = account.get("", "2022-12-01")
    state, name = str(found.get("state")), str(found.get("displayName"))
    fix = None if state == "Enabled" else "enable the subscription, or change azure-native:subscriptionId"
    return Check("subscription", state == "Enabled", f"{name} ({account.subscription}), {state}", fix)


def _rights(account: _Account) -> Check:
    """Return whether the caller may assign and define roles for the yard's identities. Source: rest/api/authorization/permissions."""
    found = account.get("/providers/Microsoft.Authorization/permissions", "2022-04-01")["value"]
    missing = [grant for grant in _GRANTS if not any(_allows(each, grant) for each in found)]
    if not missing:
        return Check("rights", True, f"may {' and '.join(_GRANTS)}", None)
    return Check("rights", False, f"may not {' and '.join(missing)}", "ask for Owner, or for Contributor with User Access Administrator")


def _allows(permission: PlainDict, action: str) -> bool:
    allowed, refused = (
        any(fnmatchcase(action.lower(), pattern.lower()) for pattern in permission.get(key, [])) for key in ("actions", "notActions")
    )
    return allowed and not refused


def _provider(name: str, account: _Account) -> Check:
    state = str(account.get(f"/providers/{name}", "2021-04-01").get("registrationState"))
    return Check(
        f"provider {name}", state == "Registered", state, None if state == "Registered" else f"az provider register --namespace {name}"
    )


def _namespaces(facts: StackFacts) -> list[str]:
    parts = (resource.kind.split(":") for resource in facts.yard.resources)
    return sorted({_NAMESPACES[kind[1]] for kind in parts if kind[0] == "azure-native" and kind[1] in _NAMESPACES})


def _encryption_at_host(facts: StackFacts, account: _Account) -> Check | None:
    if not facts.yard.of(_SCALE_SET):
        return None
    found = account.get("/providers/Microsoft.Features/providers/Microsoft.Compute/features/EncryptionAtHost", "2021-07-01")
    state = str(found["properties"]["state"])
    fix = None if state == "Registered" else "az feature register --namespace Microsoft.Compute --name EncryptionAtHost"
    return Check("encryption at host", state == "Registered", state, fix)


def _quota(need: Need, location: str, account: _Account) -> Check:
    """Compare a family's limit with the need. Azure ML has its own limits. Their names begin with the family's name."""
    clusters = need.name.startswith("azureml")
    service, version = ("Microsoft.MachineLearningServices", "2024-04-01") if clusters else ("Microsoft.Compute", "2024-07-01")
    usages = account.get(f"/providers/{service}/locations/{location}/usages", version)["value"]
    name, wanted = f"quota {need.code or need.name}", _plain(need.code or "low-priority")
    found = next((usage for usage in usages if any(wanted in _plain(str(text)) for text in usage["name"].values())), None)
    fix = f"request {need.amount} {need.unit} in {location}: portal, Quotas, {service.partition('.')[2]}"
    if found is None:
        return Check(name, False, f"{need.name}: {service} lists no such quota in {location}", fix)
    detail = (
        f"{need.name}: {found['limit']} {need.unit}, {found['currentValue']} in use, the pools {', '.join(need.pools)} need {need.amount}"
    )
    return Check(name, found["limit"] >= need.amount, detail, None if found["limit"] >= need.amount else fix)


def _plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _vault(name: str, account: _Account) -> Check:
    """Return whether a vault's name is free. A soft-deleted vault keeps its name for 90 days."""
    deleted = account.get("/providers/Microsoft.KeyVault/deletedVaults", "2023-07-01")["value"]
    if any(str(each["name"]).lower() == name.lower() for each in deleted):
        return Check(f"vault {name}", False, "a soft-deleted vault has this name", f"az keyvault recover --name {name}")
    return Check(f"vault {name}", True, "its name is free of soft-deleted vaults", None)


def _vaults(facts: StackFacts) -> list[str]:
    """Return the names of vaults that a plan knows: vaults in an existing resource group."""
    found = (vault.inputs.get("vaultName") for vault in facts.yard.of("azure-native:keyvault:Vault"))
    return sorted({name for name in found if isinstance(name, str)})


def _repairs(name: str, account: _Account) -> Check | None:
    """Return whether Azure replaces broken machines of a scale set; None: the stack is not up."""
    service = "/providers/Microsoft.Compute/virtualMachineScaleSets"
    ids = [str(each["id"]) for each in account.get(service, "2024-07-01")["value"] if each["name"] == name]
    if not ids:
        return None
    below = ids[0].removeprefix(f"/subscriptions/{account.subscription}")
    services = account.get(f"{below}/instanceView", "2024-07-01").get("orchestrationServices", [])
    states = [str(each["serviceState"]) for each in services if each["serviceName"] == "AutomaticRepairs"]
    if states == ["Running"]:
        return Check(f"pool {name}", True, "Azure replaces its broken machines", None)
    command = f"az vmss set-orchestration-service-state --ids {ids[0]} --service-name AutomaticRepairs --action Resume"
    fix = f"find the fault in /run/gpuyard/unhealthy of a broken machine, then run {command}"
    return Check(f"pool {name}", False, f"Azure replaces no broken machine, its repairs are {' '.join(states) or 'not enabled'}", fix)


def _scale_sets(facts: StackFacts) -> list[str]:
    """Return the names of the scale sets of `vms` pools."""
    return sorted(str(each.inputs["vmScaleSetName"]) for each in facts.yard.of(_SCALE_SET))


def _cluster(target: AzureMlTarget, account: _Account) -> Check:
    """Return whether a pool's cluster has the pool's machine. Azure ML keeps the old size if a cluster's size is changed in place."""
    workspace = f"/resourceGroups/{target.resource_group}/providers/Microsoft.MachineLearningServices/workspaces/{target.workspace}"
    found = account.get(f"{workspace}/computes/{target.compute}", "2024-04-01")["properties"]["properties"]["vmSize"]
    if str(found).lower() == target.machine.lower():
        return Check(f"pool {target.pool}", True, f"its cluster has {target.machine}", None)
    fix = f"az ml compute delete --name {target.compute} --workspace-name {target.workspace} --resource-group {target.resource_group}"
    return Check(f"pool {target.pool}", False, f"its cluster has {found}, the pool {target.machine}", f"{fix}, then pulumi up --refresh")


def _clusters(facts: StackFacts) -> list[AzureMlTarget]:
    return [target for target in (facts.targets or {}).values() if isinstance(target, AzureMlTarget)]
