"""Private endpoints: a private address in a network for a storage account, workspace or registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_azure_native as az

from .account import AzureComponent
from .private_dns import ZONES_OF_SUBRESOURCE

if TYPE_CHECKING:
    from .network import Network

__all__ = ["make_endpoint"]


def make_endpoint(parent: AzureComponent, suffix: str, network: Network, subresource: str, resource_id: pulumi.Output[str]) -> None:
    """Make a private endpoint in the network to one subresource, with records in the network's private DNS zones if there are any."""
    endpoint = az.network.PrivateEndpoint(
        parent.child_name(suffix),
        resource_group_name=parent.group.name,
        subnet={"id": network.endpoint_subnet_id},
        private_link_service_connections=[{"name": subresource, "group_ids": [subresource], "private_link_service_id": resource_id}],
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    zones = {key: zone for key in ZONES_OF_SUBRESOURCE[subresource] if (zone := network.private_dns_zone(key)) is not None}
    if zones:
        az.network.PrivateDnsZoneGroup(
            parent.child_name(suffix),
            resource_group_name=parent.group.name,
            private_endpoint_name=endpoint.name,
            private_dns_zone_configs=[{"name": key, "private_dns_zone_id": zone} for key, zone in zones.items()],
            opts=parent.child_options(),
        )
