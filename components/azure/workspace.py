"""The Azure ML workspace of a job service, and the storage, key vault and log workspace that it requires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import pulumi
import pulumi_azure_native as az

from ..spec.fields import INTERNET
from .account import AzureComponent, account
from .bucket import private_account
from .key import vault_properties
from .names import account_name, vault_name

__all__ = ["ISOLATION", "Isolation", "MlWorkspace", "make_workspace", "needs_own_outbound_rules"]

Isolation = Literal["internet", "approved"]
ISOLATION: Mapping[str, str] = MappingProxyType({"internet": "AllowInternetOutbound", "approved": "AllowOnlyApprovedOutbound"})
"""Isolation modes of the managed network, which limit the egress of clusters.

With `approved`, Azure makes a firewall, billed by the hour, as soon as a rule names a host. gpuyard's rules name no host:
learn.microsoft.com/azure/machine-learning/how-to-managed-network
"""
_LOG_DAYS = 365


class MlWorkspace(NamedTuple):
    """A workspace and its storage account, which has the logs of jobs."""

    workspace: az.machinelearningservices.Workspace
    storage: az.storage.StorageAccount


def make_workspace(
    parent: AzureComponent, isolation: Isolation, *, open_to: Sequence[str], registry_id: pulumi.Input[str] | None
) -> MlWorkspace:
    """Make the workspace and the resources that it requires.

    Azure ML keeps snapshots and logs of jobs in the workspace's own storage account, which is not the run bucket. Azure gives the
    workspace's identity the role Azure AI Administrator on the resource group.

    `open_to`: the addresses that reach the storage account, as for a bucket: users read logs there. The workspace itself is closed if
    `open_to` is empty, else open to the whole internet, because the provider has no list of addresses for it. `registry_id`: resource id of
    the registry; None: no registry.
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
        provision_network_now=True,  # else the first cluster waits for it, up to half an hour, and may fail
        v1_legacy_mode=False,
        tags=parent.azure_tags(),
        opts=parent.child_options(),
        **more,
    )
    return MlWorkspace(made, storage)


def needs_own_outbound_rules(isolation: Isolation, open_to: Sequence[str]) -> bool:
    """Return whether the managed network needs outbound rules to the workspace's own storage and registry.

    Azure makes these rules itself if storage and registry are closed to the internet, or with isolation `approved`. If they are open to the
    whole internet, no rule is needed. If they are open to some addresses, the managed network's addresses are not among them, so rules are
    needed: learn.microsoft.com/azure/machine-learning/how-to-managed-network

    >>> [needs_own_outbound_rules("internet", sources) for sources in ([], ["203.0.112.0/24"], ["internet"])]
    [False, True, False]
    """
    return isolation == "internet" and bool(open_to) and INTERNET not in open_to


def _insights(parent: AzureComponent) -> az.applicationinsights.Component:
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
