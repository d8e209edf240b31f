"""Rules of this machine for a whole yard, checked before the first component exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...problems import Problem
from ..validation.buckets import ExistingBucket, key_problems, open_to_problems

__all__ = ["yard_problems"]


def yard_problems(*, existing_buckets: Mapping[str, ExistingBucket], **_rest: Any) -> list[Problem]:
    """Return the problems of existing buckets: directories have no keys. The spec checks every other rule of this machine."""
    return [
        problem.under(f"buckets.{name}")
        for name, existing in existing_buckets.items()
        for problem in (*key_problems(existing), *open_to_problems(existing))
    ]
