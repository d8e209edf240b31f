"""Network security groups for nodes and for private endpoints: rules that allow traffic, then rules that deny all other traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pulumi
import pulumi_azure_native as az

from .account import AzureComponent

__all__ = ["Rule", "endpoint_rules", "make_node_group", "make_rules", "name_server_rule", "node_rules", "ssh_rules"]

Rule: TypeAlias = dict[str, object]
"""Arguments of one security rule, as az.network.SecurityRuleArgs takes them."""
_LAST = 4096  # the lowest priority of a custom rule; Azure's default rules, which allow traffic in the virtual network, have a lower one
_FIRST = 100
_HTTPS = {"access": "Allow", "protocol": "Tcp", "source_port_range": "*", "destination_port_range": "443"}


def make_node_group(parent: AzureComponent) -> pulumi.Output[str]:
    """Make the application security group of the nodes' NICs and return its id. Rules name this group instead of addresses."""
    group = az.network.ApplicationSecurityGroup(
        parent.child_name("nodes"), resource_group_name=parent.group.name, tags=parent.azure_tags(), opts=parent.child_options()
    )
    return pulumi.Output.from_input(group.id)


def make_rules(parent: AzureComponent, suffix: str, rules: Sequence[Rule]) -> pulumi.Output[str]:
    """Make a network security group with these rules, and rules that deny all other traffic. Return the group's id."""
    numbered = [{**rule, "priority": _FIRST + number} for number, rule in enumerate(rules)]
    group = az.network.NetworkSecurityGroup(
        parent.child_name(suffix),
        resource_group_name=parent.group.name,
        security_rules=[*numbered, _deny("Inbound"), _deny("Outbound")],
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    return pulumi.Output.from_input(group.id)


def node_rules(nodes: pulumi.Output[str], destinations: Mapping[str, str], ports: Sequence[int] = ()) -> list[Rule]:
    """Return rules that allow all traffic between nodes, and HTTPS from nodes to each destination.

    `nodes`: id of the application security group. `destinations`: address range or service tag, by a name for the rule. `ports`: further
    TCP ports of the internet.

    The rules do not apply to InfiniBand, which is a separate network, nor to Azure's name servers and metadata service:
    learn.microsoft.com/azure/virtual-network/network-security-groups-overview
    """
    own: list[Rule] = [{"id": nodes}]
    everything = {"access": "Allow", "protocol": "*", "source_port_range": "*", "destination_port_range": "*"}
    between = {**everything, "source_application_security_groups": own, "destination_application_security_groups": own}
    return [
        {**between, "name": "nodes-in", "direction": "Inbound", "description": "nodes from each other"},
        {**between, "name": "nodes-out", "direction": "Outbound", "description": "nodes to each other"},
        *(_https(name, own, to) for name, to in destinations.items()),
        *(_internet(port, own) for port in ports),
    ]


def ssh_rules(nodes: pulumi.Output[str], sources: Sequence[str]) -> list[Rule]:
    """Return the rule that allows SSH to nodes from private ranges, such as a Bastion subnet. Return [] without ranges."""
    allowed: Rule = {
        "name": "ssh-in",
        "description": "SSH from the ranges of the stack file",
        "direction": "Inbound",
        "access": "Allow",
        "protocol": "Tcp",
        "source_port_range": "*",
        "destination_port_range": "22",
        "source_address_prefixes": list(sources),
        "destination_application_security_groups": [{"id": nodes}],
    }
    return [allowed] if sources else []


def name_server_rule(nodes: pulumi.Output[str]) -> Rule:
    """Return a rule that allows DNS from nodes to servers in their network and in networks connected to it (peering, gateways)."""
    return {
        "name": "out-names",
        "description": "DNS in this network and those connected to it",
        "direction": "Outbound",
        "access": "Allow",
        "protocol": "*",
        "source_port_range": "*",
        "destination_port_range": "53",
        "source_application_security_groups": [{"id": nodes}],
        "destination_address_prefix": "VirtualNetwork",
    }


def endpoint_rules(endpoints: str) -> list[Rule]:
    """Return rules that allow HTTPS to the private endpoints from the network and from networks connected to it (peering, gateways).

    Submitters of a yard without public endpoints use such a connected network. Every access still needs an identity with a role.
    """
    inbound = {"name": "network-in", "description": "HTTPS from this network and those connected to it", "direction": "Inbound"}
    return [{**inbound, **_HTTPS, "source_address_prefix": "VirtualNetwork", "destination_address_prefix": endpoints}]


def _https(name: str, source: Sequence[Rule], to: str) -> Rule:
    outbound = {"name": f"out-{name}".lower(), "description": f"HTTPS to {to}", "direction": "Outbound"}
    return {**outbound, **_HTTPS, "source_application_security_groups": source, "destination_address_prefix": to}


def _internet(port: int, source: Sequence[Rule]) -> Rule:
    named = {"name": f"out-port-{port}", "description": f"port {port} of the internet", "destination_port_range": str(port)}
    return {**_https("internet", source, "Internet"), **named}


def _deny(direction: str) -> Rule:
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
