"""Private ways of a job service: from the pools' networks and from the network that Azure ML manages, to what the yard has."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pulumi
import pulumi_azure_native as az

from .account import AzureComponent
from .endpoints import BUCKETS, make_endpoint
from .identity import assign
from .roles import CONNECTION_APPROVER, Grant

if TYPE_CHECKING:
    from .bucket import Bucket
    from .gpu_pool import GpuPool
    from .network import Network


class Door(NamedTuple):
    """What the managed network gets private endpoints to."""

    label: str
    resource_id: pulumi.Output[str]
    services: tuple[str, ...]
    """blob, dfs or registry."""


def networks_of(pools: Iterable[GpuPool]) -> list[Network]:
    """The networks of these pools, each once."""
    return list({id(pool.network): pool.network for pool in pools}.values())


def lead_to_buckets(networks: Sequence[Network], buckets: Sequence[Bucket]) -> None:
    """From each network to the account of each bucket that wants it, unless it leads there already.

    The network's own, as job services share them: one that leaves the program takes no other's along.
    """
    for network in networks:
        for bucket in buckets:
            for service in BUCKETS if bucket.wants_doors else ():
                if network.first_to(bucket.account_key, service):
                    make_endpoint(network, f"{bucket.logical_name}-{service}", network, service, bucket.account_id)


def lead_to_workspace(parent: AzureComponent, networks: Sequence[Network], workspace: Any, storage: Any) -> None:
    """From each network to a workspace that the internet does not lead to, and to its storage, where the logs of jobs are."""
    for network in networks:
        make_endpoint(parent, f"{network.logical_name}-workspace", network, "amlworkspace", workspace.id)
        make_endpoint(parent, f"{network.logical_name}-workspace-storage-blob", network, "blob", storage.id)


def lead_to_registry(parent: AzureComponent, networks: Sequence[Network], registry: Any) -> None:
    """From each network to the yard's registry, for who pulls and pushes there."""
    for network in networks:
        make_endpoint(parent, f"{network.logical_name}-registry", network, "registry", registry.id)


def doors_to_buckets(buckets: Iterable[Bucket], *, all_of_them: bool) -> list[Door]:
    """What the managed network is led to of these buckets: what wants it, or all of them where clusters reach nothing else.

    Azure takes one rule for a service of an account.
    """
    by_account: dict[Hashable, Bucket] = {}
    for bucket in buckets:
        if all_of_them or bucket.wants_doors:
            by_account.setdefault(bucket.account_key, bucket)
    return [Door(bucket.logical_name, bucket.account_id, bucket.services) for bucket in by_account.values()]


def open_managed_network(parent: AzureComponent, workspace: Any, doors: Iterable[Door]) -> list[Any]:
    """The rules that give the managed network a private endpoint to each: once the workspace may connect to it, one after the other."""
    principal = workspace.identity.apply(lambda found: str(found.principal_id))
    made: list[Any] = []
    for door in doors:
        approved = assign(parent, Grant(f"connect-{door.label}", CONNECTION_APPROVER, door.resource_id), principal)
        target = pulumi.Output.all(door.resource_id, approved).apply(lambda known: str(known[0]))
        for number, service in enumerate(door.services):
            label = f"{door.label}-{service}" if number else door.label
            made.append(_managed_door(parent, workspace, label, service, target, made[-1:]))
    return made


def _managed_door(parent: AzureComponent, workspace: Any, label: str, service: str, target: pulumi.Output[str], before: list[Any]) -> Any:
    ml = az.machinelearningservices
    destination = ml.PrivateEndpointDestinationArgs(service_resource_id=target, subresource_target=service, spark_enabled=False)
    return ml.ManagedNetworkSettingsRule(
        parent.child_name(f"door-{label}"),
        resource_group_name=parent.group.name,
        workspace_name=workspace.name,
        rule_name=label,
        properties=ml.PrivateEndpointOutboundRuleArgs(type="PrivateEndpoint", category="UserDefined", destination=destination),
        opts=parent.child_options(depends_on=before),
    )
