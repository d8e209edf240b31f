"""Which account, region and partition the provider works in, and the base of every AWS component with its tags."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import pulumi
import pulumi_aws as aws

from ..base import Component


class Account(NamedTuple):
    """Where a component's resources go. Asked of the provider, so written nowhere; unknown until the account answers."""

    id: pulumi.Output[str]
    """The account's 12 digits."""
    region: pulumi.Output[str]
    """Such as us-east-1."""
    partition: pulumi.Output[str]
    """First part of every ARN: aws, aws-cn, aws-us-gov."""


def account(parent: Component) -> Account:
    """The account of the component's own provider. Ask once in a component: each call is three look-ups."""
    opts = pulumi.InvokeOptions(parent=parent)
    return Account(
        id=aws.get_caller_identity_output(opts=opts).apply(lambda found: str(found.account_id)),
        region=aws.get_region_output(opts=opts).apply(lambda found: str(found.region)),
        partition=aws.get_partition_output(opts=opts).apply(lambda found: str(found.partition)),
    )


class AwsComponent(Component):
    """A component on AWS. Its children are tagged with `aws_tags`."""

    cloud: ClassVar[str] = "aws"

    def aws_tags(self, child: str) -> dict[str, str]:
        """The tags of a child, named by its suffix: the component's own, `stack` (project/stack) and `Name` (the child's name)."""
        return {**self.tags, "stack": f"{pulumi.get_project()}/{pulumi.get_stack()}", "Name": self.child_name(child)}
