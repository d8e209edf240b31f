"""The network of an Azure yard: a virtual network without public addresses, or security groups for nodes in an existing network."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Self

import pulumi
import pulumi_azure_native as az

from ...plain_data import PlainDict, PlainMapping
from ...problems import Problem, show
from ..base import Problems, Tags, after
from ..network_base import IdForm, NetworkBase
from ..spec import NetworkSpec
from .account import AzureComponent, ResourceGroup, group_problems
from .cidr import SubnetPlan, plan_subnets, spec_problems, ssh_source_problems
from .egress import EGRESS_SERVICE_TAGS, SERVICE_ENDPOINTS
from .private_dns import BUCKET_SUBRESOURCES, DNS_ZONES, make_dns_zone
from .security_group import endpoint_rules, make_node_group, make_rules, name_server_rule, node_rules, ssh_rules

__all__ = ["Network", "zone_problems"]

_NETWORK = r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+"
_NETWORK_FORM = "/subscriptions/.../resourceGroups/.../providers/Microsoft.Network/virtualNetworks/NAME"
_JSON_VIEW = "the portal shows it under JSON View"
_ID_FORMS = {
    "vpc_id": IdForm(re.compile(rf"{_NETWORK}\Z", re.IGNORECASE), _NETWORK_FORM, fix=_JSON_VIEW),
    "subnet_ids": IdForm(re.compile(rf"{_NETWORK}/subnets/[^/]+\Z", re.IGNORECASE), f"{_NETWORK_FORM}/subnets/NAME", fix=_JSON_VIEW),
}


class Network(NetworkBase, AzureComponent):
    """A subnet for the nodes of all zones, a subnet for private endpoints, and the security group of the nodes.

    Nodes reach each other on every protocol. They reach the private endpoints, and port 443 of the destinations that `egress` allows: nat =
    the internet, through one NAT gateway; endpoints = the services in egress.py; none = nothing else. Nothing outside can connect to the
    nodes except SSH from `ssh_sources`. Azure's default outbound access is off. Pools and job services are in the network's resource group.
    """

    _id_forms = _ID_FORMS
    _output_names = ("id", "subnet_ids", "security_group_id")
    security_group_id: pulumi.Output[str]
    """Application security group of the nodes' network cards."""
    endpoint_subnet_id: pulumi.Output[str]
    """Subnet of the private endpoints. In an adopted network: the first subnet."""
    private_zones: dict[str, pulumi.Output[str]]
    """Ids of the private DNS zones by key of private_dns.DNS_ZONES. In an adopted network: the zones that the caller gave to `adopt`."""
    card_rules_id: pulumi.Output[str] | None
    """Network security group for each node's network card in an adopted network. None: the subnet has the security group."""
    _endpoints: set[tuple[Hashable, str]]

    def __init__(
        self,
        name: str,
        spec: NetworkSpec | PlainMapping | None = None,
        *,
        ssh_sources: Sequence[str] = (),
        resource_group: pulumi.Input[str] | ResourceGroup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the network: `spec` needs zones ("1" to "3"), its cidr (/16 to /22) defaults to 10.0.0.0/16.

        `ssh_sources`: private ranges that may connect to the nodes over SSH, such as a Bastion subnet (default: none).
        `resource_group`: the name of an existing group (default: a new group). Deleting a group deletes everything in it.
        """
        self._given_group, self._ssh_sources = resource_group, ssh_sources
        super().__init__(name, spec, tags=tags, opts=opts)

    def _problems(self, given: PlainMapping, opts: pulumi.ResourceOptions | None) -> Problems:
        return [*spec_problems(given), *ssh_source_problems(self._ssh_sources), *group_problems(self._given_group)]

    def _make(self, cidr: str) -> None:
        """Make the virtual network, its two subnets, the nodes' security group, the private DNS zones, and the egress of the spec."""
        self._endpoints = set()
        self.use_group(self._given_group)
        plan = plan_subnets(cidr)
        network = self._network(cidr)
        self.id = network.id
        self.security_group_id = make_node_group(self)
        nodes, endpoints = self._subnets(network.name, plan)
        self.card_rules_id, self.private_zones = None, {}
        ready = after(nodes, [zone for service in BUCKET_SUBRESOURCES if (zone := self.private_dns_zone(service)) is not None])
        self.subnet_ids = dict.fromkeys(self.zones, ready)
        self.endpoint_subnet_id = endpoints

    @classmethod
    def adopt(
        cls,
        name: str,
        *,
        vpc_id: pulumi.Input[str],
        subnet_ids: Mapping[str, pulumi.Input[str]],
        private_zones: Mapping[str, pulumi.Input[str]] | None = None,
        ssh_sources: Sequence[str] = (),
        resource_group: pulumi.Input[str] | ResourceGroup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> Self:
        """Use an existing network: make security groups for the nodes and change nothing in the network.

        `vpc_id`: the virtual network's resource id. `subnet_ids`: the private subnet's id by zone, at least one; zones may share one.
        `private_zones`: ids of the private DNS zones linked to the network, by blob, dfs, registry, api and notebooks. Without them the
        yard adds no DNS records for private endpoints; leave them out if an Azure policy adds the records. Nodes reach name servers in the
        network and in connected ones, and port 443 anywhere. The network's own routes and rules limit that further.
        """
        also = [*group_problems(resource_group), *zone_problems(private_zones or {}), *ssh_source_problems(ssh_sources)]
        self = cls._register_existing(name, vpc_id, subnet_ids, also, tags, opts)
        self.use_group(resource_group)
        self._endpoints = set()
        self.endpoint_subnet_id = next(iter(self.subnet_ids.values()))
        self.private_zones = {service: pulumi.Output.from_input(zone) for service, zone in (private_zones or {}).items()}
        self.security_group_id = make_node_group(self)
        nodes = self.security_group_id
        rules = [*node_rules(nodes, {"anywhere": "*"}), name_server_rule(nodes), *ssh_rules(nodes, ssh_sources)]
        self.card_rules_id = make_rules(self, "nodes", rules)
        return self._register()

    def private_dns_zone(self, service: str) -> pulumi.Output[str] | None:
        """Return the id of the private DNS zone for `service`, linked to this network. The zone is made at the first call.

        None: an adopted network without this zone. Two networks need two resource groups, because a group has only one zone of each name.
        """
        if service not in self.private_zones and self.egress is not None:
            zone, link = make_dns_zone(self, service, DNS_ZONES[service], self.id)
            self.private_zones[service] = after(zone, [link])
        return self.private_zones.get(service)

    def claim_endpoint(self, account_key: Hashable, subresource: str) -> bool:
        """Return whether the caller must make the private endpoint: only at the first call for a subresource of an account.

        A second private endpoint would overwrite the account's record in the DNS zone.
        """
        first = (account_key, subresource) not in self._endpoints
        self._endpoints.add((account_key, subresource))
        return first

    def _network(self, cidr: str) -> Any:
        """Make the virtual network without inline subnets, which would conflict with the subnet resources."""
        return az.network.VirtualNetwork(
            self.child_name("network"),
            resource_group_name=self.group.name,
            address_space={"address_prefixes": [cidr]},
            tags=self.azure_tags(),
            opts=self.child_options(ignore_changes=["subnets"]),
        )

    def _subnets(self, network: pulumi.Output[str], plan: SubnetPlan) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
        out = {"endpoints": plan.endpoints, **{tag: tag for tag in EGRESS_SERVICE_TAGS[str(self.egress)]}}
        ssh = ssh_rules(self.security_group_id, self._ssh_sources)
        rules = make_rules(self, "nodes", [*node_rules(self.security_group_id, out, self.egress_ports), *ssh])
        more: PlainDict = {"nat_gateway": {"id": self._nat()}} if self.egress == "nat" else {}
        if self.egress == "endpoints":
            more["service_endpoints"] = [{"service": service} for service in SERVICE_ENDPOINTS]
        nodes = self._subnet("nodes", network, plan.nodes, rules, more, [])
        guard = make_rules(self, "endpoints", endpoint_rules(plan.endpoints))
        policies = {"private_endpoint_network_policies": "Enabled"}  # else security rules do not apply to private endpoints
        # one after the other: Azure changes one subnet of a network at a time
        endpoints = self._subnet("endpoints", network, plan.endpoints, guard, policies, [nodes])
        return pulumi.Output.from_input(nodes.id), pulumi.Output.from_input(endpoints.id)

    def _subnet(
        self, suffix: str, network: pulumi.Output[str], cidr: str, rules: pulumi.Output[str], more: PlainMapping, first: list[Any]
    ) -> Any:
        return az.network.Subnet(
            self.child_name(suffix),
            resource_group_name=self.group.name,
            virtual_network_name=network,
            address_prefix=cidr,
            default_outbound_access=False,
            network_security_group={"id": rules},
            **more,
            opts=self.child_options(depends_on=first),
        )

    def _nat(self) -> pulumi.Output[str]:
        """Make one NAT gateway for all zones, with the network's only public address. If its zone fails, all zones lose the internet."""
        address = az.network.PublicIPAddress(
            self.child_name("nat"),
            resource_group_name=self.group.name,
            sku={"name": "Standard"},
            public_ip_allocation_method="Static",
            tags=self.azure_tags(),
            opts=self.child_options(),
        )
        gateway = az.network.NatGateway(
            self.child_name("nat"),
            resource_group_name=self.group.name,
            sku={"name": "Standard"},
            public_ip_addresses=[{"id": address.id}],
            tags=self.azure_tags(),
            opts=self.child_options(),
        )
        return pulumi.Output.from_input(gateway.id)


def zone_problems(private_zones: PlainMapping) -> list[Problem]:
    """Return a problem for each unknown key of `private_zones`."""
    allowed = ", ".join(DNS_ZONES)
    return [Problem("private_zones", "unknown key", show(key), allowed) for key in private_zones if key not in DNS_ZONES]
