"""The Azure ML workspace of a job service, with what it cannot be without: storage, a vault, logs. Identities alone open any of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import pulumi
import pulumi_azure_native as az

from .account import AzureComponent, account
from .bucket import private_account
from .key import vault_properties
from .names import account_name, vault_name

Isolation = Literal["internet", "approved"]
# What clusters may reach: learn.microsoft.com/azure/machine-learning/how-to-managed-network. With `approved` Azure makes a firewall, paid
# by the hour, once a rule has a host name; there is none of ours
ISOLATION: Mapping[str, str] = MappingProxyType({"internet": "AllowInternetOutbound", "approved": "AllowOnlyApprovedOutbound"})
_LOG_DAYS = 365


def make_workspace(parent: AzureComponent, isolation: Isolation, *, reachable: bool, registry_id: pulumi.Input[str] | None) -> Any:
    """The workspace. Its own storage is not the run bucket: Azure ML keeps its snapshots and logs there.

    Its identity is Azure's own for it, which Azure itself gives its roles on these things. `reachable`: whether who has rights may come
    from the internet; else through a private endpoint alone.
    """
    name = f"{parent.logical_name}-workspace"
    storage = private_account(parent, "workspace-storage", name, [], None, hierarchical=False)
    vault = az.keyvault.Vault(
        parent.child_name("workspace-vault"),
        resource_group_name=parent.group.name,
        vault_name=parent.group.id.apply(lambda group: vault_name(group, name)),
        properties=vault_properties(account(parent).tenant_id),
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    more = {"container_registry": registry_id} if registry_id is not None else {}
    return az.machinelearningservices.Workspace(
        parent.child_name("workspace"),
        resource_group_name=parent.group.name,
        workspace_name=parent.group.id.apply(lambda group: account_name(group, name)),
        identity={"type": "SystemAssigned"},
        storage_account=storage.id,
        key_vault=vault.id,
        application_insights=_insights(parent).id,
        system_datastores_auth_mode="Identity",
        public_network_access="Enabled" if reachable else "Disabled",
        managed_network={"isolation_mode": ISOLATION[isolation]},
        v1_legacy_mode=False,
        tags=parent.azure_tags(),
        opts=parent.child_options(),
        **more,
    )


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
