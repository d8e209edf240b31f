"""AWS's rules for a whole yard, checked before the first component exists."""

from __future__ import annotations

from functools import partial

from ...problems import Problem
from ..validation import yard
from ..validation.buckets import ExistingBucket, open_to_problems
from ..validation.submitters import subject_problems
from .account import tag_problems
from .bucket_rules import existing_problems
from .budget import budget_problems
from .cidr import spec_problems
from .network import Network
from .pool_rules import pool_problems
from .trust import PEOPLE

__all__ = ["yard_problems"]


def _existing_bucket(existing: ExistingBucket) -> list[Problem]:
    return [*existing_problems(existing.bucket), *open_to_problems(existing)]


yard_problems = partial(
    yard.yard_problems,
    yard.CloudRules(
        network=spec_problems,
        existing_network=Network.adoption_problems,
        existing_bucket=_existing_bucket,
        pool=lambda fields, zones, egress, expires: pool_problems(fields, "net", zones, egress, expires),
        submitters=lambda subjects: subject_problems(subjects, PEOPLE),
        tags=tag_problems,
        budget=budget_problems,
    ),
)
"""Return every problem of a yard on AWS. `components.validation.yard.yard_problems` documents the arguments."""
