"""The networks of a pool's fast cards: a table of fabrics as a pure function, and what is made of it.

Each fabric of Google's wants its own networks, beside the one of the yard (the blueprints of A3 High, A3 Mega, A3 Ultra, A4 and A4X in
GoogleCloudPlatform/cluster-toolkit@1047080; cloud.google.com/vpc/docs/rdma-network-profiles). They are the pool's: RDMA's is of one zone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pulumi
from pulumi_gcp import compute

from .cidr import fabric_cidrs, region_of
from .project import GcpComponent


class Fabric(NamedTuple):
    """The networks a machine's cards are in, besides the yard's own."""

    vpcs: int
    """Networks with one subnet each, for cards of type gVNIC."""
    mtu: int
    rdma_subnets: int = 0
    """Subnets of one network more, of the zone's RDMA profile, for cards of type MRDMA."""


FABRICS: Mapping[str, Fabric] = MappingProxyType(
    {
        "tcpx": Fabric(vpcs=4, mtu=8244),  # A3 High: GPUDirect-TCPX
        "tcpxo": Fabric(vpcs=8, mtu=8244),  # A3 Mega: GPUDirect-TCPXO
        "roce": Fabric(vpcs=1, mtu=8896, rdma_subnets=8),  # A3 Ultra, A4
        "roce-4": Fabric(vpcs=1, mtu=8896, rdma_subnets=4),  # A4X
    }
)
_RDMA_MTU = 8896
_RDMA_PROFILE = "projects/{project}/global/networkProfiles/{zone}-vpc-roce"


class Card(NamedTuple):
    """One network card of a machine."""

    kind: str
    """GVNIC or MRDMA."""
    network: int
    """Place among the fabric's networks; -1: the yard's own."""
    subnet: int = 0


def cards(fabric: str | None) -> list[Card]:
    """The cards of a machine in their order: the yard's network, then the fabric's gVNIC networks, then RDMA.

    >>> [card.kind for card in cards("roce")][:3], len(cards("roce"))
    (['GVNIC', 'GVNIC', 'MRDMA'], 10)
    """
    own = [Card("GVNIC", -1)]
    if fabric is None:
        return own
    row = FABRICS[fabric]
    fast = [Card("GVNIC", number) for number in range(row.vpcs)]
    return [*own, *fast, *(Card("MRDMA", row.vpcs, number) for number in range(row.rdma_subnets))]


def network_interfaces(
    fabric: str | None, subnet_id: pulumi.Input[str], made: Sequence[Sequence[pulumi.Input[str]]]
) -> list[dict[str, Any]]:
    """The cards as an instance template lists them. No `access_configs` at all: an empty one would give an external address."""
    return [
        {"subnetwork": subnet_id if card.network < 0 else made[card.network][card.subnet], "nic_type": card.kind} for card in cards(fabric)
    ]


def make_fabric(
    pool: GcpComponent, fabric: str, zone: str, cidr: str | None, account: pulumi.Input[str], project_id: pulumi.Output[str]
) -> list[list[pulumi.Output[str]]]:
    """The networks of a pool's fabric, and their subnets' ids. `cidr`: the yard's network, which theirs stay clear of."""
    row = FABRICS[fabric]
    free = fabric_cidrs(row.vpcs + row.rdma_subnets, cidr)
    made = [[_gvnic_network(pool, f"fabric-{number}", zone, free[number], row.mtu, account)] for number in range(row.vpcs)]
    if row.rdma_subnets:
        made.append(_rdma_network(pool, zone, free[row.vpcs :], project_id))
    return made


def _gvnic_network(pool: GcpComponent, suffix: str, zone: str, cidr: str, mtu: int, account: pulumi.Input[str]) -> pulumi.Output[str]:
    network = compute.Network(
        pool.child_name(suffix),
        auto_create_subnetworks=False,
        delete_default_routes_on_create=True,  # nothing leaves it
        mtu=mtu,
        opts=pool.child_options(),
    )
    subnet = _subnet(pool, suffix, network, zone, cidr, private_ip_google_access=True)
    compute.Firewall(
        pool.child_name(suffix),
        network=network.id,
        direction="INGRESS",
        allows=[{"protocol": "all"}],
        source_service_accounts=[account],
        target_service_accounts=[account],
        description="the pool's machines among each other",
        log_config={"metadata": "EXCLUDE_ALL_METADATA"},
        opts=pool.child_options(),
    )
    return subnet


def _rdma_network(pool: GcpComponent, zone: str, cidrs: Sequence[str], project_id: pulumi.Output[str]) -> list[pulumi.Output[str]]:
    """Of the zone's profile: it carries RDMA alone, takes no rules for it and has no way out."""
    network = compute.Network(
        pool.child_name("rdma"),
        auto_create_subnetworks=False,
        mtu=_RDMA_MTU,
        network_profile=project_id.apply(lambda project: _RDMA_PROFILE.format(project=project, zone=zone)),
        opts=pool.child_options(),
    )
    return [_subnet(pool, f"rdma-{number}", network, zone, cidr) for number, cidr in enumerate(cidrs)]


def _subnet(pool: GcpComponent, suffix: str, network: compute.Network, zone: str, cidr: str, **more: Any) -> pulumi.Output[str]:
    subnet = compute.Subnetwork(
        pool.child_name(suffix), network=network.id, region=region_of(zone), ip_cidr_range=cidr, opts=pool.child_options(), **more
    )
    return pulumi.Output.from_input(subnet.id)
