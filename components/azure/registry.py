"""The yard's container registry for the images of jobs."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi_azure_native as az

from ...plain_data import PlainDict
from ..spec.fields import INTERNET
from .account import AzureComponent
from .names import account_name

__all__ = ["make_registry", "network_access"]


def make_registry(parent: AzureComponent, open_to: Sequence[str]) -> az.containerregistry.Registry:
    """Make a container registry without an admin account and without anonymous pull. Every access needs an identity with a role.

    `open_to`: the addresses that reach the registry, as for a bucket. Empty: only private endpoints reach it. The tier is Premium, because
    other tiers have no private endpoints: learn.microsoft.com/azure/container-registry/container-registry-skus
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


def network_access(open_to: Sequence[str]) -> PlainDict:
    """Return the arguments of a Registry for its public endpoint: closed, open to some addresses, or open to all.

    >>> network_access(["203.0.112.0/24"])["network_rule_set"]["default_action"]
    'Deny'
    """
    rules = [{"action": "Allow", "i_p_address_or_range": address} for address in open_to if address != INTERNET]
    if not rules or INTERNET in open_to:
        return {"public_network_access": "Enabled" if open_to else "Disabled"}
    return {"public_network_access": "Enabled", "network_rule_set": {"default_action": "Deny", "ip_rules": rules}}
