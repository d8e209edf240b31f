"""The Azure ML workspace of a job service, with what it cannot be without: storage, a vault, logs. Identities alone open any of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import pulumi
import pulumi_azure_native as az

from ..spec.fields import ANYWHERE
from .account import AzureComponent, account
from .bucket import private_account
from .key import vault_properties
from .names import account_name, vault_name

Isolation = Literal["internet", "approved"]
# What clusters may reach: learn.microsoft.com/azure/machine-learning/how-to-managed-network. With `approved` Azure makes a firewall, paid
# by the hour, once a rule has a host name; there is none of ours
ISOLATION: Mapping[str, str] = MappingProxyType({"internet": "AllowInternetOutbound", "approved": "AllowOnlyApprovedOutbound"})
_LOG_DAYS = 365


class MlWorkspace(NamedTuple):
    """A workspace and where its jobs' logs are."""

    workspace: Any
    storage: Any


def make_workspace(
    parent: AzureComponent, isolation: Isolation, *, open_to: Sequence[str], registry_id: pulumi.Input[str] | None
) -> MlWorkspace:
    """The workspace. Its own storage is not the run bucket: Azure ML keeps its snapshots and logs there.

    Its identity is Azure's own for it; Azure makes that Azure AI Administrator of the resource group. `open_to`: from where who has
    rights may come, as for a bucket. The storage takes the same: who reads a job's log is sent there. The provider has no addresses for
    a workspace itself, so that is open to all of the internet or closed to it.
    """
    name = f"{parent.logical_name}-workspace"
    storage = private_account(parent, "workspace-storage", name, open_to, None, hierarchical=False)
    vault = az.keyvault.Vault(
        parent.child_name("workspace-vault"),
        resource_group_name=parent.group.name,
        vault_name=parent.group.id.apply(lambda group: vault_name(group, name)),
        properties=vault_properties(account(parent).tenant_id),
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    more = {"container_registry": registry_id} if registry_id is not None else {}
    made = az.machinelearningservices.Workspace(
        parent.child_name("workspace"),
        resource_group_name=parent.group.name,
        workspace_name=parent.group.id.apply(lambda group: account_name(group, name)),
        identity={"type": "SystemAssigned"},
        storage_account=storage.id,
        key_vault=vault.id,
        application_insights=_insights(parent).id,
        system_datastores_auth_mode="Identity",
        public_network_access="Enabled" if open_to else "Disabled",
        managed_network={"isolation_mode": ISOLATION[isolation]},
        v1_legacy_mode=False,
        tags=parent.azure_tags(),
        opts=parent.child_options(),
        **more,
    )
    return MlWorkspace(made, storage)


def needs_own_outbound_rules(isolation: Isolation, open_to: Sequence[str]) -> bool:
    """Whether the managed network needs a rule of ours to the workspace's own storage and registry.

    Azure makes one where these are private or only approved ways lead out; where everybody may come the internet leads there. That
    leaves addresses, among which the managed network's are not: learn.microsoft.com/azure/machine-learning/how-to-managed-network

    >>> [needs_own_outbound_rules("internet", sources) for sources in ([], ["203.0.112.0/24"], ["internet"])]
    [False, True, False]
    """
    return isolation == "internet" and bool(open_to) and ANYWHERE not in open_to


def _insights(parent: AzureComponent) -> Any:
    logs = az.operationalinsights.Workspace(
        parent.child_name("logs"),
        resource_group_name=parent.group.name,
        sku={"name": "PerGB2018"},
        retention_in_days=_LOG_DAYS,
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    return az.applicationinsights.Component(
        parent.child_name("insights"),
        resource_group_name=parent.group.name,
        kind="web",
        application_type="web",
        ingestion_mode="LogAnalytics",
        workspace_resource_id=logs.id,
        disable_local_auth=True,
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
