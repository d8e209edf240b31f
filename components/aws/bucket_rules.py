"""Policies and lifecycle rules of S3 buckets, and the check of an existing bucket's name."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from ...plain_data import PlainDict
from ...problems import Problem, show

__all__ = ["NO_PUBLIC_ACCESS", "data_lifecycle", "existing_problems", "log_lifecycle", "log_policy", "tls_only"]

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TLS = "1.2"
_ABORT_DAYS = 7  # longer than any upload of a checkpoint
_RUN_DAYS = 7
_DATA_DAYS = 30
_LOG_DAYS = 365  # the same as for log groups

NO_PUBLIC_ACCESS: PlainDict = dict.fromkeys(
    ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"], True
)
"""Arguments of a BucketPublicAccessBlock: nothing makes the bucket or an object in it public."""


def data_lifecycle() -> list[PlainDict]:
    """Return the lifecycle rules of a data bucket. No rule deletes a current object, so the last good checkpoint is safe.

    The trainer deletes a checkpoint only after it has committed a newer one, and each attempt uses its own object names
    (training_jobs/train/checkpoint_store.py). A noncurrent version can therefore be deleted: after 7 days below gpuyard/runs/, where
    checkpoints are large, and after 30 days elsewhere. No minimum number of noncurrent versions is kept, because a deleted
    checkpoint has only one version, which would then be kept and billed forever.
    """
    return [
        _abort(),
        _noncurrent("superseded-in-runs", "gpuyard/runs/", _RUN_DAYS),
        _noncurrent("superseded", "", _DATA_DAYS),
    ]


def log_lifecycle() -> list[PlainDict]:
    """Return the lifecycle rules of an access-log bucket: logs are deleted after a year."""
    old = {"id": "old-logs", "status": "Enabled", "filter": {"prefix": ""}, "expiration": {"days": _LOG_DAYS}}
    return [_abort(), {**old, "noncurrent_version_expiration": {"noncurrent_days": _RUN_DAYS}}]


def _abort() -> PlainDict:
    return {
        "id": "unfinished-uploads",
        "status": "Enabled",
        "filter": {"prefix": ""},
        "abort_incomplete_multipart_upload": {"days_after_initiation": _ABORT_DAYS},
    }


def _noncurrent(name: str, prefix: str, days: int) -> PlainDict:
    return {
        "id": name,
        "status": "Enabled",
        "filter": {"prefix": prefix},
        "noncurrent_version_expiration": {"noncurrent_days": days},
        "expiration": {"expired_object_delete_marker": True},  # removes a delete marker that has no versions left
    }


def tls_only(arn: str) -> PlainDict:
    """Return a bucket policy that denies requests without TLS 1.2 or newer. It grants nothing; IAM policies grant access."""
    return {"Version": "2012-10-17", "Statement": _denials(arn)}


def log_policy(arn: str, source_arn: str, account_id: str) -> PlainDict:
    """Return the policy of an access-log bucket: `tls_only` and the permission for S3 to deliver the logs of one bucket.

    docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
    """
    delivery = {
        "Sid": "AccessLogs",
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"{arn}/*",
        "Condition": {"ArnEquals": {"aws:SourceArn": source_arn}, "StringEquals": {"aws:SourceAccount": account_id}},
    }
    return {"Version": "2012-10-17", "Statement": [delivery, *_denials(arn)]}


def _denials(arn: str) -> list[PlainDict]:
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    return [
        {"Sid": "OnlyTls", **deny, "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Sid": "OnlyNewTls", **deny, "Condition": {"NumericLessThan": {"s3:TlsVersion": _TLS}}},
    ]


def existing_problems(bucket: Any) -> list[Problem]:
    """Return a problem if S3 allows no bucket of this name: docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html.

    >>> existing_problems("acme-ml-datasets")
    []
    """
    if isinstance(bucket, str) and _NAME.fullmatch(bucket) and ".." not in bucket and not _is_address(bucket):
        return []
    allowed = "3 to 63 characters of a-z, 0-9, . and -, beginning and ending with a letter or digit"
    fix = "write the name without s3:// and path" if "/" in str(bucket) else None
    return [Problem("existing", "not the name of a bucket", show(bucket), allowed, fix)]


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
