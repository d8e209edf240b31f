"""The network of an AWS yard: a VPC whose nodes have no public addresses, or the nodes' security group in an existing VPC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict, PlainMapping
from ...problems import Problem, show
from ..base import Problems, Tags, after, provider_setting
from ..network_base import IdForm, NetworkBase
from ..spec import NetworkSpec
from .account import AwsComponent, look_up_account
from .cidr import ZoneSubnets, plan_subnets, spec_problems
from .default_group import DefaultGroup
from .endpoints import GATEWAY, INTERFACE, service_name
from .flow_log import make_flow_log
from .key import EncryptionKey
from .pool_rules import key_problems
from .security_group import ANYWHERE, HTTPS, allow_in, allow_out, make_group, make_node_group, tcp

__all__ = ["Network"]
_EC2 = "not an EC2 id"
_ID_FORMS = {
    "vpc_id": IdForm(re.compile("vpc-"), "an id that begins with vpc-", _EC2),
    "subnet_ids": IdForm(re.compile("subnet-"), "an id that begins with subnet-", _EC2),
}


class Network(NetworkBase, AwsComponent):
    """Private subnets, one for each zone, and the security group of the nodes.

    Nodes reach each other on every protocol (EFA needs that in both directions). `egress` decides which addresses they reach on port 443:
    nat = the internet, through one NAT gateway in the first zone; endpoints = the services in endpoints.py; none = only S3 and DynamoDB,
    which nodes of every network reach. No connection from outside can reach the nodes. Flow logs record all traffic and are kept for a
    year. `adopt` makes only the nodes' security group in an existing network, with egress to port 443 of every address. The network's
    routes decide which addresses the nodes reach.
    """

    _id_forms = _ID_FORMS
    _output_names = ("id", "subnet_ids", "security_group_id")
    security_group_id: pulumi.Output[str]
    """Security group of the nodes: all traffic among them, egress to port 443."""
    default_group: DefaultGroup | None = None
    """The VPC's default security group. None for an adopted network, which the yard does not change."""

    def __init__(
        self,
        name: str,
        spec: NetworkSpec | PlainMapping | None = None,
        *,
        key: EncryptionKey | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the network: `spec` needs zones; its cidr (/16 to /20) defaults to 10.0.0.0/16.

        `key`: a key with `for_logs` for the flow logs (default: a new key).
        """
        self._key = key
        super().__init__(name, spec, tags=tags, opts=opts)

    def _problems(self, given: PlainMapping, opts: pulumi.ResourceOptions | None) -> Problems:
        return [*spec_problems(given, provider_setting(opts, "aws:ec2/vpc:Vpc", "aws", "region")), *key_problems(self._key)]

    def _make(self, cidr: str) -> None:
        """Make the VPC, its subnets and routes, the nodes' security group, the flow log, and the egress of the spec."""
        plan, account = plan_subnets(cidr, self.zones), look_up_account(self)
        self.id = self._vpc(cidr)
        self.security_group_id = make_node_group(self, self.id)
        key = self._key
        if key is None:
            key = EncryptionKey(self.child_name("key"), for_logs=True, on_destroy="delete", account=account, opts=self.child_options())
        make_flow_log(self, self.id, key, account)
        table = self._route_table("private")
        subnets = {zone: self._subnet(f"private-{zone}", zone, plan.private[zone], table) for zone in self.zones}
        ready = [
            *self._gateways(account.region, table),
            *self._egress(plan, table, account.region, [subnet for subnet, _ in subnets.values()]),
        ]
        self.subnet_ids = {zone: after(subnet, [linked, *ready]) for zone, (subnet, linked) in subnets.items()}

    def _use_existing(self) -> None:
        """Make the nodes' security group. It allows egress to port 443 of every address; the network's routes limit what nodes reach."""
        self.security_group_id = make_node_group(self, self.id)
        self._nodes_out("internet", "where the routes of this network lead", cidr_ipv4=ANYWHERE)

    def _vpc(self, cidr: str) -> pulumi.Output[str]:
        """Make the VPC and remove all rules of its default security group."""
        vpc = aws.ec2.Vpc(
            self.child_name("vpc"),
            cidr_block=cidr,
            enable_dns_support=True,
            enable_dns_hostnames=True,  # private names of endpoints need both
            tags=self.aws_tags("vpc"),
            opts=self.child_options(),
        )
        default = aws.ec2.DefaultSecurityGroup(
            self.child_name("default"),
            vpc_id=vpc.id,
            ingress=[],
            egress=[],
            tags=self.aws_tags("default"),
            # default_group.py adds rules as resources of their own; a refresh would see them here and the next `up` remove them
            opts=self.child_options(ignore_changes=["ingress", "egress"]),
        )
        self.default_group = DefaultGroup(self, pulumi.Output.from_input(default.id))
        return pulumi.Output.from_input(vpc.id)

    def _route_table(self, suffix: str) -> aws.ec2.RouteTable:
        """Make one route table for all zones, so that a new zone changes no other zone's routes."""
        return aws.ec2.RouteTable(
            self.child_name(suffix), vpc_id=self.id, tags=self.aws_tags(suffix), opts=self.child_options()
        )  # without inline routes, which would conflict with the routes of the gateway endpoints

    def _subnet(self, suffix: str, zone: str, cidr: str, table: aws.ec2.RouteTable) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
        """Make a subnet and associate it with the route table. Return the ids of the subnet and of the association."""
        subnet = aws.ec2.Subnet(
            self.child_name(suffix),
            vpc_id=self.id,
            availability_zone=zone,
            cidr_block=cidr,
            map_public_ip_on_launch=False,  # also in the public subnet, because a NAT gateway has its own address
            tags=self.aws_tags(suffix),
            opts=self.child_options(),
        )
        linked = aws.ec2.RouteTableAssociation(
            self.child_name(suffix), subnet_id=subnet.id, route_table_id=table.id, opts=self.child_options()
        )
        return subnet.id, linked.id

    def _nat(self, plan: ZoneSubnets, table: aws.ec2.RouteTable) -> pulumi.Output[str]:
        """Make one NAT gateway, in the first zone: two would double the idle price. If its zone fails, all zones lose the internet."""
        zone = self.zones[0]
        internet = aws.ec2.InternetGateway(
            self.child_name("internet"), vpc_id=self.id, tags=self.aws_tags("internet"), opts=self.child_options()
        )
        public = self._route_table("public")
        subnet, _ = self._subnet(f"public-{zone}", zone, plan.public[zone], public)
        outward = aws.ec2.Route(
            self.child_name("public-out"),
            route_table_id=public.id,
            destination_cidr_block=ANYWHERE,
            gateway_id=internet.id,
            opts=self.child_options(),
        )
        options = self.child_options(depends_on=[outward])  # AWS requires the internet gateway before the address and the NAT gateway
        address = aws.ec2.Eip(self.child_name("nat"), domain="vpc", tags=self.aws_tags("nat"), opts=options)
        gateway = aws.ec2.NatGateway(
            self.child_name("nat"),
            allocation_id=address.id,
            subnet_id=subnet,
            tags=self.aws_tags("nat"),
            # if the first zone changes, the new gateway can have the address only after the old gateway is deleted
            opts=self.child_options(depends_on=[outward], delete_before_replace=True),
        )
        route = aws.ec2.Route(
            self.child_name("private-out"),
            route_table_id=table.id,
            destination_cidr_block=ANYWHERE,
            nat_gateway_id=gateway.id,
            opts=self.child_options(),
        )
        return pulumi.Output.from_input(route.id)

    def _egress(
        self, plan: ZoneSubnets, table: aws.ec2.RouteTable, region: pulumi.Output[str], subnets: Sequence[pulumi.Output[str]]
    ) -> list[pulumi.Output[str]]:
        """Make the resources that `egress` needs. Return the ids that a node must wait for."""
        if self.egress == "nat":
            self._nodes_out("internet", "the internet, through the NAT gateway", cidr_ipv4=ANYWHERE)
            for port in self.egress_ports:
                self._allow_out(f"port-{port}", f"Port {port} of the internet", tcp(port) | {"cidr_ipv4": ANYWHERE})
            return [self._nat(plan, table)]
        return self._interfaces(region, subnets) if self.egress == "endpoints" else []

    def _gateways(self, region: pulumi.Output[str], table: aws.ec2.RouteTable) -> list[pulumi.Output[str]]:
        """Make the gateway endpoints, which are free. With a NAT gateway, the egress rule for the internet covers them."""
        endpoints = {service: self._endpoint(service, "Gateway", region, route_table_ids=[table.id]) for service in GATEWAY}
        if self.egress != "nat":
            for service, endpoint in endpoints.items():
                self._nodes_out(service, service, prefix_list_id=endpoint.prefix_list_id)
        return [endpoint.id for endpoint in endpoints.values()]

    def _interfaces(self, region: pulumi.Output[str], subnets: Sequence[pulumi.Output[str]]) -> list[pulumi.Output[str]]:
        group = make_group(self, "endpoints", self.id, "Endpoints of AWS services, for the nodes alone")
        allow_in(self, "endpoints-in-nodes", group, "HTTPS from the nodes", source=self.security_group_id, **HTTPS)
        if self.default_group is not None:
            self.default_group.endpoints = group
        self._nodes_out("endpoints", "the endpoints of AWS services", referenced_security_group_id=group)
        settings = {"private_dns_enabled": True, "subnet_ids": list(subnets), "security_group_ids": [group]}
        return [self._endpoint(service, "Interface", region, **settings).id for service in INTERFACE]

    def _endpoint(self, service: str, kind: str, region: pulumi.Output[str], **settings: object) -> aws.ec2.VpcEndpoint:
        suffix = service.replace(".", "-")
        return aws.ec2.VpcEndpoint(
            self.child_name(suffix),
            vpc_id=self.id,
            vpc_endpoint_type=kind,
            service_name=region.apply(partial(service_name, service)),
            **settings,
            tags=self.aws_tags(suffix),
            opts=self.child_options(),
        )

    def _nodes_out(self, suffix: str, destination: str, **to: object) -> None:
        self._allow_out(suffix, f"HTTPS to {destination}", {**HTTPS, **to})

    def _allow_out(self, suffix: str, description: str, fields: PlainDict) -> None:
        if self.default_group is not None:
            self.default_group.egress.append((suffix, description, fields))
        allow_out(self, f"nodes-out-{suffix}", self.security_group_id, description, **fields)

    @classmethod
    def _name_problems(cls, name: str) -> Problems:
        if name != "sg" and not name.startswith("sg-"):
            return super()._name_problems(name)
        what = "EC2 rejects security groups whose names begin with sg-"
        return [Problem("name", what, show(name), "any name but sg and sg-...", "choose another name")]
