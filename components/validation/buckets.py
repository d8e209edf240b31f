"""Rules for existing buckets of a stack file, shared by clouds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...problems import Problem

__all__ = ["ExistingBucket", "key_problems", "open_to_problems"]


class ExistingBucket(NamedTuple):
    """An existing bucket as the stack file names it."""

    bucket: str
    """The cloud's name or id of the bucket."""
    key: str | None = None
    """`existing_key`: the key that encrypts the bucket. None: not set."""
    open_to: Sequence[str] | None = None
    """Public addresses that may reach the bucket. None: not set."""


def key_problems(existing: ExistingBucket) -> list[Problem]:
    """Return a problem if `existing_key` is set, for clouds where every reader of a bucket can decrypt its objects."""
    if existing.key is None:
        return []
    what = "has no effect: the storage decrypts for every reader, so jobs need no permission on the key"
    return [Problem("existing_key", what, fix="remove existing_key")]


def open_to_problems(existing: ExistingBucket) -> list[Problem]:
    """Return a problem if `open_to` is set, for clouds where only permissions control access to buckets."""
    if existing.open_to is None:
        return []
    return [Problem("open_to", "has no effect: on this cloud only permissions control access to a bucket", fix="remove open_to")]
