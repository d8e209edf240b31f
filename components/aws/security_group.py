"""Security groups and their rules. Each rule is a separate resource with a description."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainMapping
from .account import AwsComponent

__all__ = ["ANYWHERE", "HTTPS", "allow_in", "allow_out", "make_group", "make_node_group"]

ANYWHERE = "0.0.0.0/0"
HTTPS: PlainMapping = MappingProxyType({"ip_protocol": "tcp", "from_port": 443, "to_port": 443})
_ALL: PlainMapping = MappingProxyType({"ip_protocol": "-1"})


def make_group(parent: AwsComponent, suffix: str, vpc_id: pulumi.Input[str], description: str) -> pulumi.Output[str]:
    """Create a security group without rules."""
    group = aws.ec2.SecurityGroup(
        parent.child_name(suffix), vpc_id=vpc_id, description=description, tags=parent.aws_tags(suffix), opts=parent.child_options()
    )
    return pulumi.Output.from_input(group.id)


def make_node_group(parent: AwsComponent, vpc_id: pulumi.Input[str]) -> pulumi.Output[str]:
    """Create the nodes' security group: all protocols between nodes, in both directions, as EFA requires."""
    group = make_group(parent, "nodes", vpc_id, "Nodes: everything to and from each other, 443 out")
    allow_in(parent, "nodes-in-self", group, "Everything from other nodes: EFA needs it", source=group, **_ALL)
    allow_out(parent, "nodes-out-self", group, "Everything to other nodes: EFA needs it", referenced_security_group_id=group, **_ALL)
    return group


def allow_in(
    parent: AwsComponent, suffix: str, group: pulumi.Input[str], description: str, *, source: pulumi.Input[str], **fields: Any
) -> None:
    """Add an ingress rule. Its source is always a security group, never an address range."""
    fields = {"referenced_security_group_id": source, **fields}
    _rule(aws.vpc.SecurityGroupIngressRule, parent, suffix, group, description, fields)


def allow_out(parent: AwsComponent, suffix: str, group: pulumi.Input[str], description: str, **fields: Any) -> None:
    """Add an egress rule."""
    _rule(aws.vpc.SecurityGroupEgressRule, parent, suffix, group, description, fields)


def _rule(kind: Any, parent: AwsComponent, suffix: str, group: pulumi.Input[str], description: str, fields: PlainMapping) -> None:
    name, tags = parent.child_name(suffix), parent.aws_tags(suffix)
    kind(name, security_group_id=group, description=description, **fields, tags=tags, opts=parent.child_options())
