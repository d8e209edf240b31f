"""What nodes reach without the internet: private endpoints with their names, and service endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import pulumi
import pulumi_azure_native as az

from .account import AzureComponent

if TYPE_CHECKING:
    from .network import Network

# What an endpoint is to -> the zones that give it its names: learn.microsoft.com/azure/private-link/private-endpoint-dns
_ZONES_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"blob": ("blob",), "dfs": ("dfs",), "registry": ("registry",), "amlworkspace": ("api", "notebooks")}
)
ZONES: Mapping[str, str] = MappingProxyType(
    {
        "blob": "privatelink.blob.core.windows.net",
        "dfs": "privatelink.dfs.core.windows.net",
        "registry": "privatelink.azurecr.io",
        "api": "privatelink.api.azureml.ms",
        "notebooks": "privatelink.notebooks.azure.net",
    }
)
"""What a private DNS zone is about -> its name."""
BUCKETS = ("blob", "dfs")
"""What of a bucket's account endpoints are to."""
# egress: endpoints. Registries keep the layers of images in storage accounts of their own, hence Microsoft.Storage
SERVICE_ENDPOINTS = ("Microsoft.ContainerRegistry", "Microsoft.KeyVault", "Microsoft.Storage")
OUT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"nat": ("Internet",), "endpoints": ("AzureContainerRegistry", "AzureKeyVault", "Storage"), "none": ()}
)
"""Way out -> the service tags that nodes may open port 443 to."""


def make_zone(
    parent: AzureComponent, suffix: str, name: str, network_id: pulumi.Output[str]
) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """A private DNS zone, and what links it to the network."""
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
        registration_enabled=False,  # machines do not write their own names
        resolution_policy="NxDomainRedirect",  # an account without an endpoint here keeps the name it has elsewhere
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    return pulumi.Output.from_input(zone.id), pulumi.Output.from_input(link.id)


def make_endpoint(parent: AzureComponent, suffix: str, network: Network, service: str, target_id: pulumi.Output[str]) -> None:
    """A private endpoint in a network to one service of a resource, with its names in the network's zones, where it has some."""
    endpoint = az.network.PrivateEndpoint(
        parent.child_name(suffix),
        resource_group_name=parent.group.name,
        subnet={"id": network.endpoint_subnet_id},
        private_link_service_connections=[{"name": service, "group_ids": [service], "private_link_service_id": target_id}],
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    zones = {label: zone for label in _ZONES_OF[service] if (zone := network.zone(label)) is not None}
    if zones:
        az.network.PrivateDnsZoneGroup(
            parent.child_name(suffix),
            resource_group_name=parent.group.name,
            private_endpoint_name=endpoint.name,
            private_dns_zone_configs=[{"name": label, "private_dns_zone_id": zone} for label, zone in zones.items()],
            opts=parent.child_options(),
        )
