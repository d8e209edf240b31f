"""The rules of the nodes' subnet: nodes reach each other and what egress lets them reach; nothing else, either way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_azure_native as az

from .account import AzureComponent

_LAST = 4096  # the lowest priority that a rule of one's own can have: before Azure's defaults, which let the virtual network in
_FIRST = 100
_HTTPS = {"access": "Allow", "protocol": "Tcp", "source_port_range": "*", "destination_port_range": "443"}


def make_node_group(parent: AzureComponent) -> pulumi.Output[str]:
    """The application security group that the nodes' cards are in: rules name it instead of addresses."""
    group = az.network.ApplicationSecurityGroup(
        parent.child_name("nodes"), resource_group_name=parent.group.name, tags=parent.azure_tags(), opts=parent.child_options()
    )
    return pulumi.Output.from_input(group.id)


def make_rules(parent: AzureComponent, suffix: str, rules: Sequence[dict[str, Any]]) -> pulumi.Output[str]:
    """A network security group with these rules, then a denial of all else both ways."""
    numbered = [{**rule, "priority": _FIRST + number} for number, rule in enumerate(rules)]
    group = az.network.NetworkSecurityGroup(
        parent.child_name(suffix),
        resource_group_name=parent.group.name,
        security_rules=[*numbered, _deny("Inbound"), _deny("Outbound")],
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    return pulumi.Output.from_input(group.id)


def node_rules(nodes: pulumi.Output[str], out: Mapping[str, str]) -> list[dict[str, Any]]:
    """Nodes to nodes on everything; HTTPS to what `out` has: in a word -> an address range or a service tag.

    InfiniBand is a network of its own: no rule here is about it. Azure's own name servers and the metadata service pass whatever rules
    say: learn.microsoft.com/azure/virtual-network/network-security-groups-overview
    """
    own = [{"id": nodes}]
    everything = {"access": "Allow", "protocol": "*", "source_port_range": "*", "destination_port_range": "*"}
    between = {**everything, "source_application_security_groups": own, "destination_application_security_groups": own}
    return [
        {**between, "name": "nodes-in", "direction": "Inbound", "description": "nodes from each other"},
        {**between, "name": "nodes-out", "direction": "Outbound", "description": "nodes to each other"},
        *(_https(name, own, to) for name, to in out.items()),
    ]


def names_rule(nodes: pulumi.Output[str]) -> dict[str, Any]:
    """Nodes to the name servers of an existing network, which can be its own: in it or in one joined to it."""
    return {
        "name": "out-names",
        "description": "names from this network and those joined to it",
        "direction": "Outbound",
        "access": "Allow",
        "protocol": "*",
        "source_port_range": "*",
        "destination_port_range": "53",
        "source_application_security_groups": [{"id": nodes}],
        "destination_address_prefix": "VirtualNetwork",
    }


def endpoint_rules(endpoints: str) -> list[dict[str, Any]]:
    """Private endpoints take HTTPS from the network and what is joined to it: who submits to a closed yard comes from there.

    A network has no other place for people's machines than one joined to it; identities are asked for whoever comes.
    """
    come = {"name": "network-in", "description": "HTTPS from this network and those joined to it", "direction": "Inbound"}
    return [{**come, **_HTTPS, "source_address_prefix": "VirtualNetwork", "destination_address_prefix": endpoints}]


def _https(name: str, source: list[dict[str, Any]], to: str) -> dict[str, Any]:
    out = {"name": f"out-{name}".lower(), "description": f"HTTPS to {to}", "direction": "Outbound"}
    return {**out, **_HTTPS, "source_application_security_groups": source, "destination_address_prefix": to}


def _deny(direction: str) -> dict[str, Any]:
    return {
        "name": f"deny-{direction.lower()}",
        "description": "everything else",
        "direction": direction,
        "access": "Deny",
        "priority": _LAST,
        "protocol": "*",
        "source_address_prefix": "*",
        "source_port_range": "*",
        "destination_address_prefix": "*",
        "destination_port_range": "*",
    }
