"""Private ways of a job service: from the pools' networks and from the network that Azure ML manages, to what the yard has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pulumi
import pulumi_azure_native as az

from .account import AzureComponent
from .endpoints import REGISTRY_ZONES, WORKSPACE_ZONES, ZONES, make_endpoint, make_zone
from .identity import assign
from .roles import CONNECTION_APPROVER, Grant

if TYPE_CHECKING:
    from .bucket import Bucket
    from .gpu_pool import GpuPool
    from .network import Network


class Door(NamedTuple):
    """What the managed network gets a private endpoint to."""

    label: str
    resource_id: pulumi.Output[str]
    service: str
    """blob or registry."""


def networks_of(pools: Iterable[GpuPool]) -> list[Network]:
    """The networks of these pools, each once."""
    return list({pool.network.logical_name: pool.network for pool in pools}.values())


def lead_to_buckets(parent: AzureComponent, networks: Sequence[Network], buckets: Sequence[Bucket]) -> None:
    """From each network to each bucket that the yard made: its account may have no other door. An adopted one has its owner's."""
    for network in networks:
        for bucket in buckets:
            if bucket.open_to is not None:
                for service in ZONES:
                    _lead_to_blobs(parent, network, bucket.logical_name, service, bucket.account_id)


def lead_to_workspace(parent: AzureComponent, networks: Sequence[Network], workspace: Any, storage: Any) -> None:
    """From each network to a workspace that the internet does not lead to, and to its storage, where the logs of jobs are."""
    for network in networks:
        _lead_to(parent, network, "workspace", "amlworkspace", workspace.id, WORKSPACE_ZONES)
        _lead_to_blobs(parent, network, "workspace-storage", "blob", storage.id)


def lead_to_registry(parent: AzureComponent, networks: Sequence[Network], registry: Any) -> None:
    """From each network to the yard's registry, for who pulls and pushes there."""
    for network in networks:
        _lead_to(parent, network, "registry", "registry", registry.id, REGISTRY_ZONES)


def open_managed_network(parent: AzureComponent, workspace: Any, doors: Iterable[Door]) -> list[Any]:
    """The rules that give the managed network a private endpoint to each: once the workspace may connect to it."""
    principal = workspace.identity.apply(lambda found: str(found.principal_id))
    return [_managed_door(parent, workspace, door, principal) for door in doors]


def _managed_door(parent: AzureComponent, workspace: Any, door: Door, principal: pulumi.Output[str]) -> Any:
    approved = assign(parent, Grant(f"connect-{door.label}", CONNECTION_APPROVER, door.resource_id), principal)
    ml = az.machinelearningservices
    target = pulumi.Output.all(door.resource_id, approved).apply(lambda known: str(known[0]))
    destination = ml.PrivateEndpointDestinationArgs(service_resource_id=target, subresource_target=door.service, spark_enabled=False)
    return ml.ManagedNetworkSettingsRule(
        parent.child_name(f"door-{door.label}"),
        resource_group_name=parent.group.name,
        workspace_name=workspace.name,
        rule_name=door.label,
        properties=ml.PrivateEndpointOutboundRuleArgs(type="PrivateEndpoint", category="UserDefined", destination=destination),
        opts=parent.child_options(),
    )


def _lead_to_blobs(parent: AzureComponent, network: Network, label: str, service: str, account_id: pulumi.Output[str]) -> None:
    """Named in the network's own zone of that service."""
    zone = network.private_zones.get(service)
    zones = {service: zone} if zone is not None else {}
    make_endpoint(parent, f"{network.logical_name}-{label}-{service}", network, service, account_id, zones)


def _lead_to(
    parent: AzureComponent, network: Network, label: str, service: str, target_id: pulumi.Output[str], names: Mapping[str, str]
) -> None:
    """Named in zones made for it, where the network's zones are the yard's."""
    here = network.logical_name
    wanted = names if network.private_zones else {}
    zones = {key: make_zone(parent, f"{here}-{key}", name, network.id)[0] for key, name in wanted.items()}
    make_endpoint(parent, f"{here}-{label}", network, service, target_id, zones)
