"""A container registry for the images of jobs, opened by identities alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi_azure_native as az

from ..spec.fields import ANYWHERE
from .account import AzureComponent
from .names import account_name


def make_registry(parent: AzureComponent, open_to: Sequence[str]) -> Any:
    """The registry: Premium, because no other kind can be closed to the internet; no admin account, no anonymous pull.

    `open_to`: from where who has rights may come, as for a bucket; else through private endpoints alone.
    learn.microsoft.com/azure/container-registry/container-registry-skus
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
        **network_access(open_to),
        network_rule_bypass_options="AzureServices",
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )


def network_access(open_to: Sequence[str]) -> dict[str, Any]:
    """Whom the registry lets come: nobody, some addresses, or everybody; all with rights.

    >>> network_access(["203.0.112.0/24"])["network_rule_set"]["default_action"]
    'Deny'
    """
    rules = [{"action": "Allow", "i_p_address_or_range": address} for address in open_to if address != ANYWHERE]
    if not rules or ANYWHERE in open_to:
        return {"public_network_access": "Enabled" if open_to else "Disabled"}
    return {"public_network_access": "Enabled", "network_rule_set": {"default_action": "Deny", "ip_rules": rules}}
