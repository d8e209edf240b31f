"""Lifecycle rules of Cloud Storage buckets, and the check of an existing bucket's name. Pure functions."""

from __future__ import annotations

import re

from ...problems import Problem, show

__all__ = ["data_lifecycle", "existing_problems", "log_lifecycle"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_ABORT_DAYS = 7  # no upload of a checkpoint takes that long
_RUN_DAYS = 7
_DATA_DAYS = 30
_LOG_DAYS = 365


def data_lifecycle(versions: bool) -> list[dict[str, object]]:
    """Return the lifecycle rules of a data bucket. No rule deletes a current object, so none can delete the last good checkpoint.

    The trainer deletes an old checkpoint only after a newer one is committed, and each attempt uses object names of its own
    (train/checkpoint_store.py). With `versions`, a noncurrent version is kept for 7 days below gpuyard/runs/, where checkpoints are large,
    and for 30 days elsewhere. Without `versions` there are no noncurrent versions.
    """
    noncurrent = [_delete_noncurrent(_RUN_DAYS, ["gpuyard/runs/"]), _delete_noncurrent(_DATA_DAYS, None)] if versions else []
    return [_abort(), *noncurrent]


def log_lifecycle() -> list[dict[str, object]]:
    """Return the lifecycle rules of an access-log bucket: logs are deleted after a year."""
    return [_abort(), {"action": {"type": "Delete"}, "condition": {"age": _LOG_DAYS}}, _delete_noncurrent(_RUN_DAYS, None)]


def _abort() -> dict[str, object]:
    return {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": _ABORT_DAYS}}


def _delete_noncurrent(days: int, prefixes: list[str] | None) -> dict[str, object]:
    condition = {"days_since_noncurrent_time": days, "with_state": "ARCHIVED", **({"matches_prefixes": prefixes} if prefixes else {})}
    return {"action": {"type": "Delete"}, "condition": condition}


def existing_problems(bucket: object) -> list[Problem]:
    """Return the problems of the name of an existing bucket: cloud.google.com/storage/docs/buckets#naming.

    >>> existing_problems("acme-ml-datasets")
    []
    """
    if isinstance(bucket, str) and _NAME.fullmatch(bucket) and not bucket.startswith("goog"):
        return []
    allowed = "3 to 63 characters of a-z, 0-9, ., _ and -, beginning and ending with a letter or digit, not beginning with goog"
    fix = "write the name without gs:// and path" if "/" in str(bucket) else None
    return [Problem("existing", "not the name of a bucket", show(bucket), allowed, fix)]
