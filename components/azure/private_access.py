"""Private endpoints in the pools' networks and in Azure ML's managed network, to a yard's buckets, workspace and registry."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pulumi
import pulumi_azure_native as az

from .account import AzureComponent
from .endpoints import make_endpoint
from .identity import assign
from .private_dns import BUCKET_SUBRESOURCES
from .roles import CONNECTION_APPROVER, Grant

if TYPE_CHECKING:
    from .bucket import Bucket
    from .gpu_pool import GpuPool
    from .network import Network

__all__ = [
    "PrivateLinkTarget",
    "add_bucket_endpoints",
    "add_outbound_rules",
    "add_registry_endpoints",
    "add_workspace_endpoints",
    "bucket_link_targets",
    "networks_of",
]


class PrivateLinkTarget(NamedTuple):
    """A resource to which the managed network gets private endpoints."""

    label: str
    """Part of the names of the rules and of the role assignment."""
    resource_id: pulumi.Output[str]
    subresources: tuple[str, ...]
    """One or more of blob, dfs and registry."""


def networks_of(pools: Iterable[GpuPool]) -> list[Network]:
    """Return the distinct networks of the pools."""
    return list({id(pool.network): pool.network for pool in pools}.values())


def add_bucket_endpoints(networks: Sequence[Network], buckets: Sequence[Bucket]) -> None:
    """Make the private endpoints that the buckets need in each network, once for each storage account.

    The endpoints are children of the network, so that several job services can share them.
    """
    for network in networks:
        for bucket in buckets:
            for subresource in BUCKET_SUBRESOURCES if bucket.needs_private_endpoints else ():
                if network.claim_endpoint(bucket.account_key, subresource):
                    make_endpoint(network, f"{bucket.logical_name}-{subresource}", network, subresource, bucket.account_id)


def add_workspace_endpoints(
    parent: AzureComponent,
    networks: Sequence[Network],
    workspace: az.machinelearningservices.Workspace,
    storage: az.storage.StorageAccount,
) -> None:
    """Make private endpoints in each network to the workspace and to its storage account, which has the logs of jobs."""
    for network in networks:
        make_endpoint(parent, f"{network.logical_name}-workspace", network, "amlworkspace", workspace.id)
        make_endpoint(parent, f"{network.logical_name}-workspace-storage-blob", network, "blob", storage.id)


def add_registry_endpoints(parent: AzureComponent, networks: Sequence[Network], registry: az.containerregistry.Registry) -> None:
    """Make a private endpoint in each network to the yard's registry, to pull and push images."""
    for network in networks:
        make_endpoint(parent, f"{network.logical_name}-registry", network, "registry", registry.id)


def bucket_link_targets(buckets: Iterable[Bucket], *, every_bucket: bool) -> list[PrivateLinkTarget]:
    """Return the storage accounts to which the managed network needs private endpoints, each account once.

    By default these are the accounts of buckets that need private endpoints. `every_bucket` adds the accounts of all other buckets, for
    clusters without other egress. Azure allows one rule for each subresource of an account.
    """
    by_account: dict[Hashable, Bucket] = {}
    for bucket in buckets:
        if every_bucket or bucket.needs_private_endpoints:
            by_account.setdefault(bucket.account_key, bucket)
    return [PrivateLinkTarget(bucket.logical_name, bucket.account_id, bucket.subresources) for bucket in by_account.values()]


def add_outbound_rules(
    parent: AzureComponent, workspace: az.machinelearningservices.Workspace, targets: Iterable[PrivateLinkTarget]
) -> list[az.machinelearningservices.ManagedNetworkSettingsRule]:
    """Give the managed network a private endpoint to each target. First give the workspace the role to connect.

    Azure accepts changes of one rule at a time, so each rule depends on the previous one.
    """
    principal = workspace.identity.principal_id
    rules: list[az.machinelearningservices.ManagedNetworkSettingsRule] = []
    for target in targets:
        approved = assign(parent, Grant(f"connect-{target.label}", CONNECTION_APPROVER, target.resource_id), principal)
        resource_id = pulumi.Output.all(target.resource_id, approved).apply(lambda known: str(known[0]))
        for number, subresource in enumerate(target.subresources):
            label = f"{target.label}-{subresource}" if number else target.label
            rules.append(_outbound_rule(parent, workspace, label, subresource, resource_id, rules[-1:]))
    return rules


def _outbound_rule(
    parent: AzureComponent,
    workspace: az.machinelearningservices.Workspace,
    label: str,
    subresource: str,
    resource_id: pulumi.Output[str],
    before: Sequence[pulumi.Resource],
) -> az.machinelearningservices.ManagedNetworkSettingsRule:
    ml = az.machinelearningservices
    destination = ml.PrivateEndpointDestinationArgs(service_resource_id=resource_id, subresource_target=subresource, spark_enabled=False)
    return ml.ManagedNetworkSettingsRule(
        parent.child_name(f"door-{label}"),  # frozen, because stacks' states contain this name
        resource_group_name=parent.group.name,
        workspace_name=workspace.name,
        rule_name=label,
        properties=ml.PrivateEndpointOutboundRuleArgs(type="PrivateEndpoint", category="UserDefined", destination=destination),
        opts=parent.child_options(depends_on=before),
    )
