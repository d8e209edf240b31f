"""All that Azure would refuse of a stack's yard (components/validation/yard.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from ..validation import yard
from .account import tag_problems
from .bucket_rules import existing_problems
from .budget import budget_problems
from .cidr import spec_problems
from .network import id_problems
from .pool_rules import pool_problems
from .subjects import exact_subject_problems

_LOCATION = re.compile(r"[a-z]+[a-z0-9]*")


def _network(given: Mapping[str, Any], region: str | None) -> list[str]:
    return [*_region(region), *spec_problems(given)]


def _existing_network(vpc_id: str, subnets: Mapping[str, str], region: str | None) -> list[str]:
    return [
        *_region(region),
        *id_problems("vpc_id", vpc_id),
        *(line for zone, subnet in subnets.items() for line in id_problems("subnet_ids", subnet, zone)),
    ]


def _region(region: str | None) -> list[str]:
    if region is None or _LOCATION.fullmatch(region):
        return []
    return [f"azure-native:location: got {region!r}, allowed: a region's short name; write {region.replace(' ', '').lower()}"]


yard_problems = partial(
    yard.yard_problems,
    yard.Checks(
        network=_network,
        existing_network=_existing_network,
        existing_bucket=existing_problems,
        pool=lambda given, zones, egress, expires: pool_problems(given, "net", zones, expires),
        submitters=exact_subject_problems,
        tags=tag_problems,
        budget=budget_problems,
    ),
)
"""See components/validation/yard.py."""
