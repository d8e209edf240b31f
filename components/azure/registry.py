"""A container registry for the images of jobs, opened by identities alone."""

from __future__ import annotations

from typing import Any

import pulumi_azure_native as az

from .account import AzureComponent
from .names import account_name


def make_registry(parent: AzureComponent, *, reachable: bool) -> Any:
    """The registry: Premium, because no other kind can be closed to the internet; no admin account, no anonymous pull.

    `reachable`: whether who has rights may come from the internet, to push; else through private endpoints alone, of which Azure ML
    makes its own. learn.microsoft.com/azure/container-registry/container-registry-skus
    """
    name = f"{parent.logical_name}-registry"
    return az.containerregistry.Registry(
        parent.child_name("registry"),
        resource_group_name=parent.group.name,
        registry_name=parent.group.id.apply(lambda group: account_name(group, name)),
        sku={"name": "Premium"},
        admin_user_enabled=False,
        anonymous_pull_enabled=False,
        data_endpoint_enabled=True,
        public_network_access="Enabled" if reachable else "Disabled",
        network_rule_bypass_options="AzureServices",
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
