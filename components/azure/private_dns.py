"""Private DNS zones, which give the names of private endpoints their private addresses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pulumi
import pulumi_azure_native as az

from .account import AzureComponent

__all__ = ["BUCKET_SUBRESOURCES", "DNS_ZONES", "ZONES_OF_SUBRESOURCE", "make_dns_zone"]

DNS_ZONES: Mapping[str, str] = MappingProxyType(
    {
        "blob": "privatelink.blob.core.windows.net",
        "dfs": "privatelink.dfs.core.windows.net",
        "registry": "privatelink.azurecr.io",
        "api": "privatelink.api.azureml.ms",
        "notebooks": "privatelink.notebooks.azure.net",
    }
)
"""Names of the private DNS zones by key: learn.microsoft.com/azure/private-link/private-endpoint-dns."""
ZONES_OF_SUBRESOURCE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"blob": ("blob",), "dfs": ("dfs",), "registry": ("registry",), "amlworkspace": ("api", "notebooks")}
)
"""Keys of the zones that a private endpoint to a subresource needs (same page)."""
BUCKET_SUBRESOURCES = ("blob", "dfs")
"""The subresources of a storage account that serve a bucket."""


def make_dns_zone(
    parent: AzureComponent, suffix: str, name: str, network_id: pulumi.Output[str]
) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """Make a private DNS zone and link it to the network. Returns the ids of the zone and of the link."""
    zone = az.privatedns.PrivateZone(
        parent.child_name(suffix),
        resource_group_name=parent.group.name,
        private_zone_name=name,
        location="Global",
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    link = az.privatedns.VirtualNetworkLink(
        parent.child_name(suffix),
        resource_group_name=parent.group.name,
        private_zone_name=zone.name,
        location="Global",
        virtual_network={"id": network_id},
        registration_enabled=False,  # machines do not register their own names
        resolution_policy="NxDomainRedirect",  # a name without a record in this zone is resolved publicly
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    return pulumi.Output.from_input(zone.id), pulumi.Output.from_input(link.id)
