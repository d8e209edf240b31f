"""What a bucket's lifecycle says, and what its name may be: pure."""

from __future__ import annotations

import re
from typing import Any

from ...problems import Problem, show

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_ABORT_DAYS = 7  # no upload of a checkpoint takes that long
_RUN_DAYS = 7
_DATA_DAYS = 30
_LOG_DAYS = 365


def data_lifecycle(versions: bool) -> list[dict[str, Any]]:
    """The rules of a bucket with data: current objects stay for ever, so no rule can remove the last good checkpoint.

    The trainer drops an old checkpoint only after a newer one is committed, and each attempt writes names of its own
    (train/checkpoint_store.py). So what is not current is superseded: it stays recoverable for 7 days below gpuyard/runs/, where a
    checkpoint is large, and 30 days elsewhere. Without versions nothing is kept.
    """
    superseded = [_superseded(_RUN_DAYS, ["gpuyard/runs/"]), _superseded(_DATA_DAYS, None)] if versions else []
    return [_abort(), *superseded]


def log_lifecycle() -> list[dict[str, Any]]:
    """The rules of a bucket with access logs: a year, then they go."""
    return [_abort(), {"action": {"type": "Delete"}, "condition": {"age": _LOG_DAYS}}, _superseded(_RUN_DAYS, None)]


def _abort() -> dict[str, Any]:
    return {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": _ABORT_DAYS}}


def _superseded(days: int, prefixes: list[str] | None) -> dict[str, Any]:
    found = {"days_since_noncurrent_time": days, "with_state": "ARCHIVED", **({"matches_prefixes": prefixes} if prefixes else {})}
    return {"action": {"type": "Delete"}, "condition": found}


def existing_problems(bucket: Any) -> list[Problem]:
    """Why this cannot be the name of a bucket, a line each: cloud.google.com/storage/docs/buckets#naming.

    >>> existing_problems("acme-ml-datasets")
    []
    """
    if isinstance(bucket, str) and _NAME.fullmatch(bucket) and not bucket.startswith("goog"):
        return []
    allowed = "3 to 63 of a-z, 0-9, ., _ and -, beginning and ending with a letter or digit"
    fix = "write the name without gs:// and path" if "/" in str(bucket) else None
    return [Problem("existing", "not the name of a bucket", show(bucket), allowed, fix)]
