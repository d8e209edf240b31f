"""A KMS key with yearly rotation and a key policy of named actions."""

from __future__ import annotations

import json
from typing import Literal

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict
from ...problems import Problem, show
from ..base import Tags, refuse, this_stack
from .account import Account, AwsComponent, look_up_account

__all__ = ["EncryptionKey", "key_policy"]

# Actions that IAM policies of the account may grant. They are listed one by one, because a key policy limits all of them.
# fmt: off
_ADMINISTER = [
    "CancelKeyDeletion", "CreateAlias", "CreateGrant", "DeleteAlias", "DescribeKey", "DisableKey", "DisableKeyRotation",
    "EnableKey", "EnableKeyRotation", "GetKeyPolicy", "GetKeyRotationStatus", "ListGrants", "ListKeyPolicies", "ListKeyRotations",
    "ListResourceTags", "PutKeyPolicy", "RetireGrant", "RevokeGrant", "RotateKeyOnDemand", "ScheduleKeyDeletion", "TagResource",
    "UntagResource", "UpdateAlias", "UpdateKeyDescription",
]
# fmt: on
_USE = [
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
]
_ALLOWED = ("keep", "delete")
_WINDOW_DAYS = 30  # the longest that AWS allows, because data cannot be read without its key


class EncryptionKey(AwsComponent):
    """A key that rotates every year. Only IAM policies of this account grant its use; no other account has access.

    With `for_logs`, CloudWatch Logs may also use it, for log groups of this account and region.
    """

    arn: pulumi.Output[str]
    for_logs: bool
    """Whether the key can encrypt log groups."""

    def __init__(
        self,
        name: str,
        *,
        for_logs: bool = False,
        on_destroy: Literal["keep", "delete"] = "keep",
        account: Account | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Create the key.

        `on_destroy`: keep (default) keeps the key when the yard is destroyed; delete schedules the key's deletion for 30 days later.
        `account`: the account, if the caller already looked it up.
        """
        wrong = [] if on_destroy in _ALLOWED else [Problem("on_destroy", "wrong value", show(on_destroy), " or ".join(_ALLOWED))]
        refuse(f"EncryptionKey {name}", wrong)
        if on_destroy == "keep":
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=True))
        super().__init__("EncryptionKey", name, {"for_logs": for_logs, "on_destroy": on_destroy}, tags, opts)
        self.for_logs = for_logs
        key = aws.kms.Key(
            self.child_name("key"),
            description=f"gpuyard {this_stack()} {name}",
            enable_key_rotation=True,
            deletion_window_in_days=_WINDOW_DAYS,
            policy=_policy(account or look_up_account(self), for_logs),
            tags=self.aws_tags("key"),
            opts=self.child_options(),
        )
        aws.kms.Alias(self.child_name("alias"), target_key_id=key.id, opts=self.child_options())  # the name that the console shows
        self.arn = key.arn
        self.register_outputs({"arn": self.arn})


def _policy(account: Account, for_logs: bool) -> pulumi.Output[str]:
    known = pulumi.Output.all(account.id, account.region, account.partition)
    return known.apply(lambda words: json.dumps(key_policy(words[0], words[1], words[2], for_logs)))


def key_policy(account_id: str, region: str, partition: str, for_logs: bool) -> PlainDict:
    """Return the key policy. `Resource: *` means this key, because a key policy covers only its key.

    >>> [statement["Sid"] for statement in key_policy("111122223333", "us-east-1", "aws", True)["Statement"]]
    ['AccountAdministers', 'AccountUses', 'LogGroupsUse']
    """
    root = {"AWS": f"arn:{partition}:iam::{account_id}:root"}
    statements = [_allow("AccountAdministers", root, _ADMINISTER), _allow("AccountUses", root, _USE)]
    if for_logs:
        # docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
        groups = f"arn:{partition}:logs:{region}:{account_id}:log-group:*"
        condition = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}}
        service = {"Service": f"logs.{region}.amazonaws.com"}
        statements.append({**_allow("LogGroupsUse", service, _USE), "Condition": condition})
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(sid: str, principal: dict[str, str], actions: list[str]) -> PlainDict:
    return {"Sid": sid, "Effect": "Allow", "Principal": principal, "Action": [f"kms:{action}" for action in actions], "Resource": "*"}
