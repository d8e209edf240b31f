"""What a bucket's policy and lifecycle say: pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from ...problems import Problem, show

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TLS = "1.2"
_ABORT_DAYS = 7  # no upload of a checkpoint takes that long
_RUN_DAYS = 7
_DATA_DAYS = 30
_LOG_DAYS = 365  # as the log groups


def data_lifecycle() -> list[dict[str, Any]]:
    """The rules of a bucket with data: current objects stay for ever, so no rule can remove the last good checkpoint.

    The trainer drops an old checkpoint only after a newer one is committed, and each attempt writes names of its own
    (training_jobs/train/checkpoint_store.py). So what is not current is superseded. It stays recoverable for 7 days below gpuyard/runs/,
    where a checkpoint is large, and 30 days elsewhere. No number of older versions is kept beyond that: a dropped checkpoint has
    one version, which would then stay, and be paid, for ever.
    """
    return [
        _abort(),
        _noncurrent("superseded-in-runs", "gpuyard/runs/", _RUN_DAYS),
        _noncurrent("superseded", "", _DATA_DAYS),
    ]


def log_lifecycle() -> list[dict[str, Any]]:
    """The rules of a bucket with access logs: a year, then they go."""
    old = {"id": "old-logs", "status": "Enabled", "filter": {"prefix": ""}, "expiration": {"days": _LOG_DAYS}}
    return [_abort(), {**old, "noncurrent_version_expiration": {"noncurrent_days": _RUN_DAYS}}]


def _abort() -> dict[str, Any]:
    return {
        "id": "unfinished-uploads",
        "status": "Enabled",
        "filter": {"prefix": ""},
        "abort_incomplete_multipart_upload": {"days_after_initiation": _ABORT_DAYS},
    }


def _noncurrent(name: str, prefix: str, days: int) -> dict[str, Any]:
    return {
        "id": name,
        "status": "Enabled",
        "filter": {"prefix": prefix},
        "noncurrent_version_expiration": {"noncurrent_days": days},
        "expiration": {"expired_object_delete_marker": True},  # the marker of a deletion, once no version is behind it
    }


def tls_only(arn: str) -> dict[str, Any]:
    """A bucket's policy: everything is denied that does not come over TLS 1.2 or newer. What is allowed is for IAM to say."""
    return {"Version": "2012-10-17", "Statement": _denials(arn)}


def log_policy(arn: str, source_arn: str, account_id: str) -> dict[str, Any]:
    """The policy of a bucket with access logs: as `tls_only`, and S3 may deliver the logs of one bucket of this account.

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


def _denials(arn: str) -> list[dict[str, Any]]:
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    return [
        {"Sid": "OnlyTls", **deny, "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Sid": "OnlyNewTls", **deny, "Condition": {"NumericLessThan": {"s3:TlsVersion": _TLS}}},
    ]


def existing_problems(bucket: Any) -> list[Problem]:
    """Why this cannot be the name of an S3 bucket, a line each: docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html.

    >>> existing_problems("acme-ml-datasets")
    []
    """
    if isinstance(bucket, str) and _NAME.fullmatch(bucket) and ".." not in bucket and not _is_address(bucket):
        return []
    allowed = "3 to 63 of a-z, 0-9, ., and -, beginning and ending with a letter or digit"
    fix = "write the name without s3:// and path" if "/" in str(bucket) else None
    return [Problem("existing", "not the name of a bucket", show(bucket), allowed, fix)]


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
