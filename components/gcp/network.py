"""The network of a GCP yard: a VPC without external addresses; or an existing one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_gcp import compute

from ...problems import Problem, show
from ..base import Tags, after, checked, refuse
from ..naming import name_problems
from ..spec import NetworkSpec
from ..spec.fields import as_mapping
from .cidr import DEFAULT_CIDR, region_of, spec_problems, subnet_cidr
from .google_apis import VIP, make_google_access
from .project import GcpComponent

ANYWHERE = "0.0.0.0/0"
_MTU = 8896  # the most there is: jumbo frames inside the network, cloud.google.com/vpc/docs/mtu
_LAST = 65_534  # just before the rules that every network implies


class Network(GcpComponent):
    """One private subnet for all zones of the region, with Private Google Access and flow logs.

    Nothing reaches it from elsewhere; who talks to whom inside is said by each pool, by service account. Out of it goes port 443 of what
    `egress` lets nodes reach: nat = the internet, through Cloud NAT; endpoints and none = Google's own services alone, through their
    private addresses (Google has one such door for all of them, so the two words come out the same here).
    """

    id: pulumi.Output[str]
    """Of the VPC: projects/P/global/networks/NAME."""
    subnet_ids: dict[str, pulumi.Output[str]]
    """Subnet by zone; all of a region are the same. Known once it has its way out."""
    zones: list[str]
    egress: str | None
    """nat, endpoints or none; None: an adopted network, which has its own way."""
    cidr: str | None
    """The network's range; None: an adopted network."""

    def __init__(
        self,
        name: str,
        spec: NetworkSpec | Mapping[str, Any] | None = None,
        *,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the network: `spec` needs zones, all of one region; its cidr (/12 to /20) defaults to 10.0.0.0/16."""
        problems = [*name_problems(name), *spec_problems(as_mapping(spec), _configured_region(opts))]
        spec = checked(NetworkSpec, spec, f"Network {name}", self.cloud, problems)
        cidr = spec.cidr or DEFAULT_CIDR
        super().__init__("Network", name, {"cidr": cidr, "zones": spec.zones, "egress": spec.egress}, tags, opts)
        self.zones, self.egress, self.cidr = list(spec.zones), spec.egress, cidr  # after: Pulumi sets its own of these names
        region = region_of(self.zones[0])
        vpc = compute.Network(
            self.child_name("vpc"),
            auto_create_subnetworks=False,
            delete_default_routes_on_create=True,  # only when it is made: a route of its own can come and go with egress
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
        ways = [*self._rules(), *(self._nat(region, subnet) if self.egress == "nat" else make_google_access(self, self.id))]
        reachable = after(subnet.id, ways)
        self.subnet_ids = dict.fromkeys(self.zones, reachable)
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
        """Use an existing network and change nothing in it.

        `vpc_id`: projects/P/global/networks/NAME. `subnet_ids`: projects/P/regions/R/subnetworks/NAME by zone, at least one; they must have
        Private Google Access, and a way out where jobs need the internet. Pools add rules for their own machines.
        """
        problems = [*name_problems(name), *id_problems("vpc_id", vpc_id, "networks")]
        problems += [line for zone, subnet in subnet_ids.items() for line in id_problems(f"subnet_ids.{zone}", subnet, "subnetworks")]
        if not subnet_ids:
            problems.append(Problem("subnet_ids", "no subnet", "none", "at least one", "list the subnet of each pool's zone"))
        refuse(f"Network {name}", problems)
        self = cls.__new__(cls)
        GcpComponent.__init__(self, "Network", name, {"existing": {"vpc_id": vpc_id, "subnet_ids": dict(subnet_ids)}}, tags, opts)
        self.zones, self.egress, self.cidr = list(subnet_ids), None, None
        self.id = _existing(name, "vpc_id", vpc_id, "networks")
        self.subnet_ids = {zone: _existing(name, f"subnet_ids.{zone}", subnet, "subnetworks") for zone, subnet in subnet_ids.items()}
        self._register()
        return self

    def _register(self) -> None:
        self.register_outputs({"id": self.id, "subnet_ids": self.subnet_ids})

    def _rules(self) -> list[pulumi.Output[str]]:
        """What may leave. What may enter is implied: nothing."""
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
        """Addresses are Google's to choose. Ports grow with need: data loaders open thousands of connections, the default is 64."""
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


def _configured_region(opts: pulumi.ResourceOptions | None) -> str | None:
    """The region of the stack's own provider; None where another provider was handed in, or the region is not in the settings."""
    opts = opts or pulumi.ResourceOptions()
    inherited = opts.parent.get_provider("gcp:compute/network:Network") if opts.parent else None
    return None if opts.provider or opts.providers or inherited else pulumi.Config("gcp").get("region")


def id_problems(key: str, value: Any, kind: str) -> list[Problem]:
    """Why this cannot be the id of a network or subnet; an output of another stack is looked at once it is known."""
    if isinstance(value, str | None) and f"/{kind}/" not in str(value):
        where = "global" if kind == "networks" else "regions/R"
        fix = "copy it from the console or from the other stack's outputs"
        return [Problem(key, "not a resource id", show(value), f"projects/P/{where}/{kind}/NAME", fix)]
    return []


def _existing(name: str, key: str, value: pulumi.Input[str], kind: str) -> pulumi.Output[str]:
    """The id, once known. An output that is missing in the other stack arrives as None."""

    def known(found: Any) -> str:
        refuse(f"Network {name}", id_problems(key, found, kind))
        return str(found)

    return pulumi.Output.from_input(value).apply(known)
