"""What every job target holds, whatever the cloud, as plain data: JobTarget v1, which training_jobs/target.py defines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .spec import LimitsSpec


@dataclass(frozen=True)
class Given:
    """What all targets of a job service share."""

    stack: str
    """project/stack."""
    limits: LimitsSpec
    secrets: Mapping[str, str]
    """References by logical name."""
    image: str | None
    """Container image of jobs that name none; None: no such thing here."""


def shared(kind: str, pool: str, given: Given, run_bucket: str, buckets: Mapping[str, str]) -> dict[str, Any]:
    """The part of a pool's target that is the same on every cloud. `buckets`: URL by logical name."""
    return {
        "version": 1,
        "kind": kind,
        "stack": given.stack,
        "pool": pool,
        "run_bucket": run_bucket,
        "buckets": dict(buckets),
        "limits": given.limits.model_dump(),
        "secrets": dict(given.secrets),
        "default_image": given.image,
    }


def run_bucket_problems(writes: Sequence[str]) -> list[str]:
    """What is wrong with the names of the buckets that jobs write, if anything."""
    if len(writes) == 1:
        return []
    return [f"writes: got {', '.join(writes) or 'none'}, allowed: exactly one bucket, the run bucket; list the others in reads"]
