"""All that AWS would refuse of a stack's yard (components/validation/yard.py)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ..validation import yard
from ..validation.submitters import subject_problems
from .account import tag_problems
from .bucket_rules import existing_problems
from .budget import budget_problems
from .cidr import spec_problems
from .network import id_problems
from .pool_rules import pool_problems


def _existing_network(vpc_id: str, subnets: Mapping[str, str], region: str | None) -> list[str]:
    return [
        *id_problems("vpc_id", vpc_id, "vpc-"),
        *(line for zone, subnet in subnets.items() for line in id_problems(zone, subnet, "subnet-")),
    ]


yard_problems = partial(
    yard.yard_problems,
    yard.Checks(
        network=spec_problems,
        existing_network=_existing_network,
        existing_bucket=existing_problems,
        pool=lambda given, zones, egress, expires: pool_problems(given, "net", zones, egress, expires),
        submitters=subject_problems,
        tags=tag_problems,
        budget=budget_problems,
    ),
)
"""See components/validation/yard.py."""
