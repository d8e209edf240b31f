"""The network of a GCP yard: a VPC without external addresses; or an existing one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_gcp import compute

from ...plain_data import PlainMapping
from ...problems import Problem, show
from ..base import Tags, after, provider_setting
from ..naming import name_problems
from ..network_base import NetworkBase
from ..spec import NetworkSpec
from ..spec.fields import as_mapping
from .cidr import DEFAULT_CIDR, region_of, spec_problems, subnet_cidr
from .google_apis import VIP, make_google_access
from .project import GcpComponent

__all__ = ["ANYWHERE", "Network", "id_problems"]

ANYWHERE = "0.0.0.0/0"
_MTU = 8896  # the maximum: jumbo frames inside the network, cloud.google.com/vpc/docs/mtu
_LAST = 65_534  # just before the implied rules of every network


class Network(NetworkBase, GcpComponent):
    """One private subnet for all zones of the region, with Private Google Access and flow logs.

    Nothing outside can connect to it. Each pool allows traffic between its own machines, by service account. Nodes reach port 443 of the
    destinations that `egress` allows: nat = the internet, through Cloud NAT; endpoints and none = only Google's services, through their
    private addresses. Google has one private endpoint for all of its services, so endpoints and none are the same here.
    """

    cidr: str | None
    """The network's CIDR block. None: an adopted network."""

    def __init__(
        self,
        name: str,
        spec: NetworkSpec | PlainMapping | None = None,
        *,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the network: `spec` needs zones, all of one region; its cidr (/12 to /20) defaults to 10.0.0.0/16."""
        configured = provider_setting(opts, "gcp:compute/network:Network", "gcp", "region")
        found = [*name_problems(name), *spec_problems(as_mapping(spec), configured)]
        self.cidr = cidr = self._declare(name, spec, DEFAULT_CIDR, found, tags, opts)
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
            log_config={"aggregation_interval": "INTERVAL_5_SEC", "flow_sampling": 0.5, "metadata": "INCLUDE_ALL_METADATA"},
            opts=self.child_options(),
        )
        ready = [*self._rules(), *(self._nat(region, subnet) if self.egress == "nat" else make_google_access(self, self.id))]
        self.subnet_ids = dict.fromkeys(self.zones, after(subnet.id, ready))
        self._register()

    @classmethod
    def adopt(
        cls,
        name: str,
        *,
        vpc_id: pulumi.Input[str],
        subnet_ids: Mapping[str, pulumi.Input[str]],
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> Network:
        """Use an existing network and change nothing in it. Pools add firewall rules for their own machines.

        `vpc_id`: projects/P/global/networks/NAME. `subnet_ids`: projects/P/regions/R/subnetworks/NAME by zone, at least one. They must have
        Private Google Access, and egress to the internet if jobs need it.
        """
        self = cls._register_existing(name, vpc_id, subnet_ids, id_problems, name_problems(name), tags, opts)
        self.cidr = None
        self._register()
        return self

    def _rules(self) -> list[pulumi.Output[str]]:
        """Make the egress rules. Every network denies ingress by default."""
        outside = ANYWHERE if self.egress == "nat" else VIP
        return [
            self._out("deny-out", "everything that no other rule allows", ANYWHERE, _LAST, denies=[{"protocol": "all"}]),
            self._out("inside-out", "each other", str(self.cidr), 1000, allows=[{"protocol": "all"}]),
            self._out("https-out", "HTTPS", outside, 1000, allows=[{"protocol": "tcp", "ports": ["443"]}]),
        ]

    def _out(self, suffix: str, what: str, where: str, priority: int, **verdict: Any) -> pulumi.Output[str]:
        rule = compute.Firewall(
            self.child_name(suffix),
            network=self.id,
            direction="EGRESS",
            priority=priority,
            destination_ranges=[where],
            description=f"from the nodes: {what}",
            log_config={"metadata": "INCLUDE_ALL_METADATA"},
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
            enable_endpoint_independent_mapping=False,  # the two exclude each other
            min_ports_per_vm=64,
            max_ports_per_vm=32_768,
            log_config={"enable": True, "filter": "ERRORS_ONLY"},
            opts=self.child_options(),
        )
        return [pulumi.Output.from_input(route.id), pulumi.Output.from_input(nat.id)]


def id_problems(key: str, value: object) -> list[Problem]:
    """Return a problem unless the value is the id of a network or subnet. An output is checked once it is known."""
    kind, where = ("networks", "global") if key == "vpc_id" else ("subnetworks", "regions/R")
    if isinstance(value, str | None) and f"/{kind}/" not in str(value):
        fix = "copy it from the console or from the other stack's outputs"
        return [Problem(key, "not a resource id", show(value), f"projects/P/{where}/{kind}/NAME", fix)]
    return []
