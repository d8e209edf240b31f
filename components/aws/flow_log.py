"""VPC flow logs: all traffic of a network, encrypted and kept for a year."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from .account import Account, AwsComponent
from .identity import Identity
from .key import EncryptionKey
from .log_group import LOG_DAYS
from .policy import ArnScope, Statement
from .trust import Trust

__all__ = ["flow_log_statements", "make_flow_log"]

_INTERVAL_S = 60  # the shortest interval that AWS offers
_WHY = "the flow log service writes to this log group only"


def make_flow_log(parent: AwsComponent, vpc_id: pulumi.Input[str], key: EncryptionKey, account: Account) -> None:
    """Create the flow log of a VPC with its log group and role."""
    name = parent.child_name("flow-log")
    group = aws.cloudwatch.LogGroup(
        name,
        kms_key_id=key.arn,
        retention_in_days=LOG_DAYS,
        tags=parent.aws_tags("flow-log"),
        opts=parent.child_options(),
    )
    statements = pulumi.Output.all(account.arn_scope, group.name).apply(lambda known: flow_log_statements(*known))
    writer = Identity(
        name, trust=Trust(service="vpc-flow-logs.amazonaws.com"), statements=statements, account=account, opts=parent.child_options()
    )
    aws.ec2.FlowLog(
        name,
        vpc_id=vpc_id,
        traffic_type="ALL",
        max_aggregation_interval=_INTERVAL_S,
        log_destination_type="cloud-watch-logs",
        log_destination=group.arn,
        iam_role_arn=writer.role_arn,
        tags=parent.aws_tags("flow-log"),
        opts=parent.child_options(),
    )


def flow_log_statements(scope: ArnScope, group: str) -> list[Statement]:
    """Return the permissions of the flow log service, without CreateLogGroup.

    docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
    """
    arn = scope.arn("logs", f"log-group:{group}")
    return [
        Statement(("logs:CreateLogStream", "logs:PutLogEvents"), (f"{arn}:log-stream:*",), why=_WHY),
        Statement(("logs:DescribeLogStreams",), (f"{arn}:*",), why=_WHY),
        Statement(("logs:DescribeLogGroups",), (arn,), why=_WHY),
    ]
