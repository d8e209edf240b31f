"""Rules for a whole `local` yard, checked before the first component exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...problems import Problem
from ..validation.buckets import ExistingBucket, key_problems, open_to_problems

__all__ = ["yard_problems"]


def yard_problems(*, existing_buckets: Mapping[str, ExistingBucket], **_rest: Any) -> list[Problem]:
    """Return a problem for each existing bucket with a key or `open_to`, which a directory cannot have. YardSpec checks all other rules."""
    return [
        problem.under(f"buckets.{name}")
        for name, existing in existing_buckets.items()
        for problem in (*key_problems(existing), *open_to_problems(existing))
    ]
