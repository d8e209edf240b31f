"""CloudWatch log groups of a yard: encrypted, kept for a year."""

from __future__ import annotations

import pulumi_aws as aws

from .account import Account, AwsComponent
from .key import EncryptionKey

__all__ = ["LOG_DAYS", "make_log_group"]

LOG_DAYS = 365
"""Retention that Checkov (CKV_AWS_338) and Security Hub require, in days."""


def make_log_group(parent: AwsComponent, key: EncryptionKey | None, account: Account) -> aws.cloudwatch.LogGroup:
    """Create a component's log group, encrypted with `key` or with a new key."""
    key = key or EncryptionKey(
        parent.child_name("log-key"), for_logs=True, on_destroy="delete", account=account, opts=parent.child_options()
    )
    return aws.cloudwatch.LogGroup(
        parent.child_name("logs"),
        retention_in_days=LOG_DAYS,
        kms_key_id=key.arn,
        tags=parent.aws_tags("logs"),
        opts=parent.child_options(),
    )
