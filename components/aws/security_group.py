"""Security groups and their rules. Each rule is a separate resource with a description."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict, PlainMapping
from .account import AwsComponent

__all__ = ["ANYWHERE", "HTTPS", "allow_all_between", "allow_in", "allow_out", "make_group", "make_node_group", "tcp"]

ANYWHERE = "0.0.0.0/0"
HTTPS: PlainMapping = MappingProxyType({"ip_protocol": "tcp", "from_port": 443, "to_port": 443})
"""Fields of a rule for HTTPS."""
_ALL: PlainMapping = MappingProxyType({"ip_protocol": "-1"})


def tcp(port: int) -> PlainDict:
    """Return the fields of a rule for one TCP port."""
    return {"ip_protocol": "tcp", "from_port": port, "to_port": port}


def make_group(parent: AwsComponent, suffix: str, vpc_id: pulumi.Input[str], description: str) -> pulumi.Output[str]:
    """Create a security group without rules."""
    group = aws.ec2.SecurityGroup(
        parent.child_name(suffix), vpc_id=vpc_id, description=description, tags=parent.aws_tags(suffix), opts=parent.child_options()
    )
    return pulumi.Output.from_input(group.id)


def make_node_group(parent: AwsComponent, vpc_id: pulumi.Input[str]) -> pulumi.Output[str]:
    """Create the nodes' security group: all protocols between nodes, in both directions, as EFA requires."""
    group = make_group(parent, "nodes", vpc_id, "Nodes: everything to and from each other, 443 out")
    allow_all_between(parent, "nodes", group, "other nodes: EFA needs it")
    return group


def allow_all_between(parent: AwsComponent, prefix: str, group: pulumi.Input[str], others: str) -> list[pulumi.Resource]:
    """Allow every protocol among the members of a group, in both directions. Return both rules."""
    return [
        allow_in(parent, f"{prefix}-in-self", group, f"Everything from {others}", source=group, **_ALL),
        allow_out(parent, f"{prefix}-out-self", group, f"Everything to {others}", referenced_security_group_id=group, **_ALL),
    ]


def allow_in(
    parent: AwsComponent, suffix: str, group: pulumi.Input[str], description: str, *, source: pulumi.Input[str], **fields: Any
) -> pulumi.Resource:
    """Add an ingress rule and return it. Its source is always a security group, never an address range."""
    fields = {"referenced_security_group_id": source, **fields}
    return _rule(aws.vpc.SecurityGroupIngressRule, parent, suffix, group, description, fields)


def allow_out(parent: AwsComponent, suffix: str, group: pulumi.Input[str], description: str, **fields: Any) -> pulumi.Resource:
    """Add an egress rule and return it."""
    return _rule(aws.vpc.SecurityGroupEgressRule, parent, suffix, group, description, fields)


def _rule(
    kind: Any, parent: AwsComponent, suffix: str, group: pulumi.Input[str], description: str, fields: PlainMapping
) -> pulumi.Resource:
    name, tags = parent.child_name(suffix), parent.aws_tags(suffix)
    rule: pulumi.Resource = kind(name, security_group_id=group, description=description, **fields, tags=tags, opts=parent.child_options())
    return rule
