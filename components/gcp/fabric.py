"""The networks for a pool's fast network cards: a table of fabrics, and the networks and subnets of each fabric.

Each of Google's fabrics needs networks in addition to the yard's network. Each pool makes these networks itself, because an RDMA network is
limited to one zone. Sources: the blueprints of A3 High, A3 Mega, A3 Ultra, A4 and A4X in GoogleCloudPlatform/cluster-toolkit@1047080;
cloud.google.com/vpc/docs/rdma-network-profiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pulumi
from pulumi_gcp import compute

from ...plain_data import PlainDict
from .cidr import fabric_cidrs, region_of
from .machines import RULE_LOGS
from .project import GcpComponent

__all__ = ["FABRICS", "Card", "FabricNetworks", "cards", "make_fabric", "network_interfaces"]


class FabricNetworks(NamedTuple):
    """The networks of a machine's fast cards, in addition to the yard's network."""

    vpcs: int
    """Number of networks with one subnet each, for cards of type gVNIC."""
    mtu: int
    rdma_subnets: int = 0
    """Number of subnets, for cards of type MRDMA, in one more network with the zone's RDMA profile. 0: no such network."""
    metal_cards: int = 0
    """Number of RDMA cards of a bare-metal machine. Its two other cards are of type IDPF and have only IPv6."""


FABRICS: Mapping[str, FabricNetworks] = MappingProxyType(
    {
        "tcpx": FabricNetworks(vpcs=4, mtu=8244),  # A3 High: GPUDirect-TCPX
        "tcpxo": FabricNetworks(vpcs=8, mtu=8244),  # A3 Mega: GPUDirect-TCPXO
        "roce": FabricNetworks(vpcs=1, mtu=8896, rdma_subnets=8),  # A3 Ultra, A4
        "roce-4": FabricNetworks(vpcs=1, mtu=8896, rdma_subnets=4),  # A4X
        # A4X Max: cloud.google.com/ai-hypercomputer/docs/create/create-mig-a4x-max
        "roce-metal": FabricNetworks(vpcs=1, mtu=8896, metal_cards=8),
    }
)
_RDMA_MTU = 8896
_RDMA_PROFILE = "projects/{project}/global/networkProfiles/{zone}-{profile}"
_METAL_SUBNET = "projects/{project}/regions/{region}/subnetworks/default-subnet-1-{network}"


class Card(NamedTuple):
    """One network card of a machine."""

    kind: str
    """GVNIC, MRDMA or IDPF."""
    network: int
    """Index among the fabric's networks; -1: the yard's own network."""
    subnet: int = 0
    stack: str | None = None
    """IPV6_ONLY; None: IPv4."""


def cards(fabric: str | None) -> list[Card]:
    """Return the cards of a machine in the order of their networks: the yard's network, the fabric's gVNIC networks, the RDMA network.

    >>> [card.kind for card in cards("roce")][:3], len(cards("roce"))
    (['GVNIC', 'GVNIC', 'MRDMA'], 10)
    """
    own = [Card("GVNIC", -1)]
    if fabric is None:
        return own
    row = FABRICS[fabric]
    if row.metal_cards:
        return [*(Card("IDPF", 0, number, "IPV6_ONLY") for number in range(2)), *[Card("MRDMA", 1, 0, "IPV6_ONLY")] * row.metal_cards]
    fast = [Card("GVNIC", number) for number in range(row.vpcs)]
    return [*own, *fast, *(Card("MRDMA", row.vpcs, number) for number in range(row.rdma_subnets))]


def network_interfaces(fabric: str | None, subnet_id: pulumi.Input[str], made: Sequence[Sequence[pulumi.Input[str]]]) -> list[PlainDict]:
    """Return the network interfaces of an instance template. They have no `access_configs`: even an empty one gives an external address."""
    return [
        {
            "subnetwork": subnet_id if card.network < 0 else made[card.network][card.subnet],
            "nic_type": card.kind,
            **({"stack_type": card.stack} if card.stack else {}),
        }
        for card in cards(fabric)
    ]


def make_fabric(
    pool: GcpComponent, fabric: str, zone: str, account: pulumi.Input[str], project_id: pulumi.Output[str]
) -> list[list[pulumi.Output[str]]]:
    """Make the networks of a pool's fabric; return the ids of their subnets."""
    row = FABRICS[fabric]
    if row.metal_cards:
        return [_metal_network(pool, zone, row.mtu, account), [_metal_rdma(pool, zone, project_id)]]
    free = fabric_cidrs(row.vpcs + row.rdma_subnets)
    made = [[_gvnic_network(pool, f"fabric-{number}", zone, free[number], row.mtu, account)] for number in range(row.vpcs)]
    if row.rdma_subnets:
        made.append(_rdma_network(pool, zone, free[row.vpcs :], project_id))
    return made


def _gvnic_network(pool: GcpComponent, suffix: str, zone: str, cidr: str, mtu: int, account: pulumi.Input[str]) -> pulumi.Output[str]:
    network = compute.Network(
        pool.child_name(suffix),
        auto_create_subnetworks=False,
        delete_default_routes_on_create=True,  # no egress
        mtu=mtu,
        opts=pool.child_options(),
    )
    _allow_internal_traffic(pool, suffix, network, account)
    return _subnet(pool, suffix, network, zone, cidr, private_ip_google_access=True)


def _metal_network(pool: GcpComponent, zone: str, mtu: int, account: pulumi.Input[str]) -> list[pulumi.Output[str]]:
    """Make the IPv6 network of bare-metal machines. In this network, machines reach only each other and Google's services."""
    network = compute.Network(
        pool.child_name("fabric-0"),
        auto_create_subnetworks=False,
        enable_ula_internal_ipv6=True,
        mtu=mtu,
        opts=pool.child_options(),
    )
    _allow_internal_traffic(pool, "fabric-0", network, account)
    return [
        pulumi.Output.from_input(
            compute.Subnetwork(
                pool.child_name(f"fabric-0-{number}"),
                network=network.id,
                region=region_of(zone),
                stack_type="IPV6_ONLY",
                ipv6_access_type="INTERNAL",
                private_ipv6_google_access="ENABLE_OUTBOUND_VM_ACCESS_TO_GOOGLE",
                opts=pool.child_options(),
            ).id
        )
        for number in range(2)
    ]


def _allow_internal_traffic(pool: GcpComponent, suffix: str, network: compute.Network, account: pulumi.Input[str]) -> None:
    compute.Firewall(
        pool.child_name(suffix),
        network=network.id,
        direction="INGRESS",
        allows=[{"protocol": "all"}],
        source_service_accounts=[account],
        target_service_accounts=[account],
        description="the pool's machines among each other",
        log_config=RULE_LOGS,
        opts=pool.child_options(),
    )


def _rdma_network(pool: GcpComponent, zone: str, cidrs: Sequence[str], project_id: pulumi.Output[str]) -> list[pulumi.Output[str]]:
    """Make a network with the zone's RDMA profile. It carries only RDMA and has neither firewall rules nor egress."""
    network = _profiled_network(pool, zone, "vpc-roce", project_id)
    return [_subnet(pool, f"rdma-{number}", network, zone, cidr) for number, cidr in enumerate(cidrs)]


def _metal_rdma(pool: GcpComponent, zone: str, project_id: pulumi.Output[str]) -> pulumi.Output[str]:
    """Make the RDMA network of bare-metal machines. Google makes its only subnet and names it after the network."""
    network = _profiled_network(pool, zone, "vpc-roce-metal", project_id)
    return pulumi.Output.all(project_id, network.name).apply(
        lambda known: _METAL_SUBNET.format(project=known[0], region=region_of(zone), network=known[1])
    )


def _profiled_network(pool: GcpComponent, zone: str, profile: str, project_id: pulumi.Output[str]) -> compute.Network:
    return compute.Network(
        pool.child_name("rdma"),
        auto_create_subnetworks=False,
        mtu=_RDMA_MTU,
        network_profile=project_id.apply(lambda project: _RDMA_PROFILE.format(project=project, zone=zone, profile=profile)),
        opts=pool.child_options(),
    )


def _subnet(pool: GcpComponent, suffix: str, network: compute.Network, zone: str, cidr: str, **more: Any) -> pulumi.Output[str]:
    subnet = compute.Subnetwork(
        pool.child_name(suffix), network=network.id, region=region_of(zone), ip_cidr_range=cidr, opts=pool.child_options(), **more
    )
    return pulumi.Output.from_input(subnet.id)
