"""The network of a GCP yard: a VPC whose nodes have no external addresses, or an existing VPC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_gcp import compute

from ...plain_data import PlainMapping
from ..base import Problems, after, provider_setting
from ..network_base import IdForm, NetworkBase
from .cidr import region_of, spec_problems, subnet_cidr
from .google_apis import VIP, make_google_access
from .machines import RULE_LOGS
from .project import GcpComponent

__all__ = ["ANYWHERE", "Network"]

ANYWHERE = "0.0.0.0/0"
_MTU = 8896  # the maximum: jumbo frames inside the network, cloud.google.com/vpc/docs/mtu
_LAST = 65_534  # just before the implied rules of every network
# A record of one flow in ten every ten minutes. Google's defaults, one flow in two every 5 s, write up to 600 times as much:
# cloud.google.com/vpc/docs/flow-logs (2026-12-01)
_FLOW_LOGS: Mapping[str, Any] = {"aggregation_interval": "INTERVAL_10_MIN", "flow_sampling": 0.1, "metadata": "EXCLUDE_ALL_METADATA"}
_ID_FORMS = {
    "vpc_id": IdForm(re.compile(".*/networks/"), "projects/P/global/networks/NAME"),
    "subnet_ids": IdForm(re.compile(".*/subnetworks/"), "projects/P/regions/R/subnetworks/NAME"),
}


def _other_project(network_id: str, own: str) -> str | None:
    project = network_id.rpartition("/global/")[0].rpartition("/")[2]
    return project if project != own else None


class Network(NetworkBase, GcpComponent):
    """One private subnet for all zones of the region, with Private Google Access and flow logs.

    No connection from outside reaches the nodes. Each pool allows traffic between its own machines, by service account. Nodes reach port
    443 of the destinations that `egress` allows: nat = the internet, through Cloud NAT; endpoints and none = only Google's services,
    through their private addresses. Google has one private endpoint for all of its services, so endpoints and none are the same here.

    All zones are in one region; the cidr is /12 to /20. `adopt` uses an existing network and changes nothing in it: its subnets must have
    Private Google Access, and egress to the internet if jobs need it. Pools add firewall rules for their own machines.
    """

    _id_forms = _ID_FORMS
    cidr: str | None
    """The network's CIDR block. None: an adopted network."""

    def _problems(self, given: PlainMapping, opts: pulumi.ResourceOptions | None) -> Problems:
        return spec_problems(given, provider_setting(opts, "gcp:compute/network:Network", "gcp", "region"))

    def _make(self, cidr: str) -> None:
        """Make the VPC, its subnet and firewall rules, and the egress of the spec."""
        self.cidr = cidr
        region = region_of(self.zones[0])
        vpc = compute.Network(
            self.child_name("vpc"),
            auto_create_subnetworks=False,
            delete_default_routes_on_create=True,  # Google does this only at creation; the yard's own route follows `egress`
            mtu=_MTU,
            routing_mode="REGIONAL",
            opts=self.child_options(),
        )
        self.id = pulumi.Output.from_input(vpc.id)
        subnet = compute.Subnetwork(
            self.child_name("subnet"),
            network=vpc.id,
            region=region,
            ip_cidr_range=subnet_cidr(cidr),
            private_ip_google_access=True,
            log_config=_FLOW_LOGS,
            opts=self.child_options(),
        )
        ready = [*self._rules(), *(self._nat(region, subnet) if self.egress == "nat" else make_google_access(self, self.id))]
        self.subnet_ids = dict.fromkeys(self.zones, after(subnet.id, ready))

    def rules_project(self, own: pulumi.Output[str]) -> pulumi.Output[str | None] | None:
        """Return the project for firewall rules of this network. None: `own`, the provider's project.

        A firewall rule must be in the network's project. A Shared VPC is in its host project.
        """
        if self.egress is not None:
            return None
        both: pulumi.Output[list[str]] = pulumi.Output.all(self.id, own)
        return both.apply(lambda known: _other_project(known[0], known[1]))

    def _use_existing(self) -> None:
        """Add nothing: pools make firewall rules for their own machines."""
        self.cidr = None

    def _rules(self) -> list[pulumi.Output[str]]:
        """Make the egress rules. Every network denies ingress by default."""
        outside, ports = ANYWHERE if self.egress == "nat" else VIP, ["443", *map(str, self.egress_ports)]
        return [
            self._out("deny-out", "everything that no other rule allows", ANYWHERE, _LAST, denies=[{"protocol": "all"}]),
            self._out("inside-out", "each other", str(self.cidr), 1000, allows=[{"protocol": "all"}]),
            self._out("https-out", "HTTPS", outside, 1000, allows=[{"protocol": "tcp", "ports": ports}]),
        ]

    def _out(self, suffix: str, what: str, where: str, priority: int, **verdict: Any) -> pulumi.Output[str]:
        rule = compute.Firewall(
            self.child_name(suffix),
            network=self.id,
            direction="EGRESS",
            priority=priority,
            destination_ranges=[where],
            description=f"from the nodes: {what}",
            log_config=RULE_LOGS,
            opts=self.child_options(),
            **verdict,
        )
        return pulumi.Output.from_input(rule.id)

    def _nat(self, region: str, subnet: compute.Subnetwork) -> list[pulumi.Output[str]]:
        """Make Cloud NAT with Google's addresses. Ports are allocated dynamically: data loaders need thousands, the default is 64."""
        route = compute.Route(
            self.child_name("internet"),
            network=self.id,
            dest_range=ANYWHERE,
            next_hop_gateway="default-internet-gateway",
            description="what Cloud NAT takes out",
            opts=self.child_options(),
        )
        router = compute.Router(self.child_name("router"), network=self.id, region=region, opts=self.child_options())
        nat = compute.RouterNat(
            self.child_name("nat"),
            router=router.name,
            region=region,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
            subnetworks=[{"name": subnet.id, "source_ip_ranges_to_nats": ["ALL_IP_RANGES"]}],
            enable_dynamic_port_allocation=True,
            enable_endpoint_independent_mapping=False,  # Google does not allow it with dynamic port allocation
            min_ports_per_vm=64,
            max_ports_per_vm=32_768,
            log_config={"enable": True, "filter": "ERRORS_ONLY"},
            opts=self.child_options(),
        )
        return [pulumi.Output.from_input(route.id), pulumi.Output.from_input(nat.id)]
