"""Addresses of a network and of a pool's fabric: pure. A zone never moves another: all zones of a region share its one subnet."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from ...problems import Problem, show
from ..validation.network import network_problems, size_problems

DEFAULT_CIDR = "10.0.0.0/16"
_WIDEST, _NARROWEST = 12, 20
_ZONE = re.compile(r"([a-z]+-[a-z]+\d+)-([a-z])")
# Each fabric network of a pool is a network of its own; on one machine no two cards may be in ranges that overlap, so these stand
# apart from each other and from any network a yard can have: cloud.google.com/vpc/docs/subnets#valid-ranges has this one, values.py not.
_FABRIC_BASE = "198.18.0.0/15"
_FABRIC_PREFIX = 20  # 4,091 machines


def subnet_cidr(cidr: str) -> str:
    """The subnet's part of the network: its first half. The other half stays free, for what may stand beside it one day.

    >>> subnet_cidr("10.40.0.0/16")
    '10.40.0.0/17'
    """
    if problems := cidr_problems(cidr):
        raise ValueError("; ".join(map(str, problems)))
    return str(next(ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=1)))


def fabric_cidrs(number: int) -> list[str]:
    """The ranges of so many fabric networks, always the same: pools do not see each other's.

    >>> fabric_cidrs(2)
    ['198.18.0.0/20', '198.18.16.0/20']
    """
    return [str(subnet) for subnet in islice(ipaddress.IPv4Network(_FABRIC_BASE).subnets(new_prefix=_FABRIC_PREFIX), number)]


def region_of(zone: str) -> str:
    """The region a zone is in.

    >>> region_of("us-central1-a")
    'us-central1'
    """
    return zone.rpartition("-")[0]


def spec_problems(fields: Mapping[str, Any], region: str | None) -> list[Problem]:
    """Return the problems of a network to create, which NetworkSpec cannot see. `region`: the provider's."""
    return network_problems(fields, DEFAULT_CIDR, cidr_problems, lambda zones: zone_problems(zones, region))


def cidr_problems(cidr: str) -> list[Problem]:
    """Return a problem if the network is too large or too small."""
    return size_problems(cidr, _WIDEST, _NARROWEST)


def zone_problems(zones: Sequence[str], region: str | None = None) -> list[Problem]:
    """Return the problems of the zones of a network. `region`: the provider's, None if unknown."""
    example = f"{region or 'us-central1'}-a"
    if not zones:
        return [Problem("zones", "no zone", "none", "at least one", f"list the zones of the pools, such as [{example}]")]
    problems = []
    for zone in zones:
        match = _ZONE.fullmatch(zone)
        if match is None:
            problems.append(Problem("zones", "not a zone", show(zone), f"a region, a hyphen and a letter, such as {example}"))
        elif region is not None and match[1] != region:
            allowed, fix = f"zones of {region}, the region that gcp:region sets", f"write {region}-{match[2]}"
            problems.append(Problem("zones", "not in the stack's region", show(zone), allowed, fix))
    regions = sorted({match[1] for zone in zones if (match := _ZONE.fullmatch(zone))})
    if region is None and len(regions) > 1:
        problems.append(Problem("zones", "zones of several regions", ", ".join(regions), "one region", "declare a network for each region"))
    return problems
