"""The provider's account, region and partition; the base class and the tag rules of AWS components."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainMapping
from ...problems import Problem, show
from ..base import Component, Tags, refuse, this_stack
from .policy import ArnScope

__all__ = ["Account", "AwsComponent", "look_up_account", "look_up_partition", "tag_problems"]

_TEXT = re.compile(r"[\w .:/=+\-@]*")  # letters and digits of any language: docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html
_CHARACTERS = "letters, digits, spaces and _.:/=+-@"
_RESERVED = ("name", "stack")
_KEY_LIMIT, _VALUE_LIMIT = 128, 256
_MAX_TAGS = 50 - len(_RESERVED)


@dataclass(frozen=True)
class Account:
    """The account, region and partition of a component's provider. They are unknown in an offline plan."""

    id: pulumi.Output[str]
    """The account's 12 digits."""
    region: pulumi.Output[str]
    """Name of the region, such as us-east-1."""
    partition: pulumi.Output[str]
    """First part of every ARN: aws, aws-cn, aws-us-gov."""

    @cached_property
    def arn_scope(self) -> pulumi.Output[ArnScope]:
        """Account, region and partition as plain text, for functions that build ARNs."""
        return pulumi.Output.all(self.id, self.region, self.partition).apply(lambda words: ArnScope(*words))


class AwsComponent(Component):
    """A component on AWS. Its children are tagged with `aws_tags`."""

    cloud: ClassVar[str] = "aws"

    def __init__(self, kind: str, name: str, props: PlainMapping, tags: Tags | None, opts: pulumi.ResourceOptions | None) -> None:
        refuse(f"{kind} {name}", tag_problems(tags or {}))
        super().__init__(kind, name, props, tags, opts)

    def aws_tags(self, child: str) -> dict[str, str]:
        """Return the tags of a child: the component's tags, `stack` (project/stack) and `Name` (the child's name)."""
        return {**self.tags, "stack": this_stack(), "Name": self.child_name(child)}


def look_up_account(parent: Component) -> Account:
    """Look up the account of a component's provider. Each call makes three look-ups, so call it once per component."""
    opts = pulumi.InvokeOptions(parent=parent)
    return Account(
        id=aws.get_caller_identity_output(opts=opts).apply(lambda found: str(found.account_id)),
        region=aws.get_region_output(opts=opts).apply(lambda found: str(found.region)),
        partition=look_up_partition(parent),
    )


def look_up_partition(parent: Component) -> pulumi.Output[str]:
    """Look up only the partition."""
    found = aws.get_partition_output(opts=pulumi.InvokeOptions(parent=parent))
    return pulumi.Output.from_input(found.apply(lambda found: str(found.partition)))


def tag_problems(tags: PlainMapping) -> list[Problem]:
    """Return a problem for each tag that AWS refuses. In IAM, keys that differ only in case are the same key.

    >>> tag_problems({"owner": "ml-platform@acme.io", "expires": "2027-03-31"})
    []
    """
    problems = []
    lower = [str(key).lower() for key in tags]
    for key, value in tags.items():
        if not isinstance(value, str) or len(value) > _VALUE_LIMIT or not _TEXT.fullmatch(value):
            problems.append(
                Problem(f"tags.{key}", "not a valid tag value", show(value), f"at most {_VALUE_LIMIT} characters: {_CHARACTERS}")
            )
        if not 0 < len(str(key)) <= _KEY_LIMIT or not _TEXT.fullmatch(str(key)):
            problems.append(Problem("tags", "not a valid tag key", show(key), f"1 to {_KEY_LIMIT} characters: {_CHARACTERS}"))
        elif str(key).lower() in _RESERVED or str(key).lower().startswith("aws:"):
            problems.append(Problem("tags", "reserved key", show(key), "any key but Name, stack and aws:...", "choose another key"))
        elif lower.count(str(key).lower()) > 1:
            problems.append(Problem("tags", "keys differ only in case", show(key), "each key once", "remove one of them"))
    if len(tags) > _MAX_TAGS:
        problems.append(Problem("tags", "too many tags", str(len(tags)), f"at most {_MAX_TAGS}", "remove some tags"))
    return problems
