"""GCP's rules for a whole yard, checked before the first component exists."""

from __future__ import annotations

from functools import partial

from ...problems import Problem
from ..validation import yard
from ..validation.buckets import ExistingBucket, key_problems, open_to_problems
from .bucket_rules import existing_problems
from .budget import budget_problems
from .cidr import spec_problems
from .labels import tag_problems
from .network import Network
from .pool_rules import pool_problems
from .submitter import submitter_problems

__all__ = ["yard_problems"]


def _existing_bucket(existing: ExistingBucket) -> list[Problem]:
    return [*existing_problems(existing.bucket), *key_problems(existing), *open_to_problems(existing)]


yard_problems = partial(
    yard.yard_problems,
    yard.CloudRules(
        network=spec_problems,
        existing_network=Network.adoption_problems,
        existing_bucket=_existing_bucket,
        pool=lambda fields, zones, egress, expires: pool_problems(fields, "net", zones, expires),
        submitters=submitter_problems,
        tags=tag_problems,
        budget=budget_problems,
    ),
)
"""Return every problem of a yard on GCP. `components.validation.yard.yard_problems` documents the arguments."""
