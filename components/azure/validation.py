"""Azure's rules for a whole yard, checked before the first component exists."""

from __future__ import annotations

import re
from functools import partial

from ...problems import Problem, show
from ..validation import yard
from ..validation.buckets import ExistingBucket, key_problems
from .account import tag_problems
from .bucket_rules import container_id_problems
from .budget import budget_problems
from .cidr import spec_problems
from .network import Network
from .pool_rules import pool_problems
from .subjects import exact_subject_problems

__all__ = ["yard_problems"]

_LOCATION = re.compile(r"[a-z]+[a-z0-9]*")


def _existing_bucket(existing: ExistingBucket) -> list[Problem]:
    return [*container_id_problems(existing.bucket), *key_problems(existing)]


def _region(region: str | None) -> list[Problem]:
    if region is None or _LOCATION.fullmatch(region):
        return []
    fix = f"write {region.replace(' ', '').lower()}"
    return [
        Problem("azure-native:location", "not a region's short name", show(region), "lower-case letters and digits, such as eastus", fix)
    ]


yard_problems = partial(
    yard.yard_problems,
    yard.CloudRules(
        region=_region,
        network=lambda fields, _region: spec_problems(fields),
        existing_network=Network.adoption_problems,
        existing_bucket=_existing_bucket,
        pool=lambda fields, zones, egress, expires: pool_problems(fields, "net", zones, expires),
        submitters=exact_subject_problems,
        tags=tag_problems,
        budget=budget_problems,
    ),
)
"""Return every problem of a yard on Azure. `components.validation.yard.yard_problems` documents the arguments."""
