"""IPv4 ranges of a network's subnet and of the fabric networks, and which zones a network may have. Pure functions.

All zones of a region share one subnet, so adding a zone changes no range.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from itertools import islice

from ...problems import Problem, show
from ..validation.network import network_problems, size_problems

__all__ = ["cidr_problems", "fabric_cidrs", "region_of", "spec_problems", "subnet_cidr", "zone_problems"]

_WIDEST, _NARROWEST = 12, 20
_ZONE = re.compile(r"([a-z]+-[a-z]+\d+)-([a-z])")
# The NICs of one machine must be in ranges that do not overlap. A yard's network cannot use this block (spec/fields.py), but Google
# allows it: cloud.google.com/vpc/docs/subnets#valid-ranges
_FABRIC_BASE = "198.18.0.0/15"
_FABRIC_PREFIX = 20  # 4,091 machines


def subnet_cidr(cidr: str) -> str:
    """Return the range of the subnet: the first half of the network. The second half stays free for later use.

    Raises ValueError for a network that `cidr_problems` refuses.

    >>> subnet_cidr("10.40.0.0/16")
    '10.40.0.0/17'
    """
    if problems := cidr_problems(cidr):
        raise ValueError("; ".join(map(str, problems)))
    return str(next(ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=1)))


def fabric_cidrs(number: int) -> list[str]:
    """Return the ranges of a pool's fabric networks. All pools use the same ranges, because their fabrics are not connected.

    >>> fabric_cidrs(2)
    ['198.18.0.0/20', '198.18.16.0/20']
    """
    return [str(subnet) for subnet in islice(ipaddress.IPv4Network(_FABRIC_BASE).subnets(new_prefix=_FABRIC_PREFIX), number)]


def region_of(zone: str) -> str:
    """Return the region of a zone.

    >>> region_of("us-central1-a")
    'us-central1'
    """
    return zone.rpartition("-")[0]


def spec_problems(fields: Mapping[str, object], region: str | None) -> list[Problem]:
    """Return the problems of a new network that NetworkSpec cannot check.

    `fields`: the spec as the user wrote it. `region`: the provider's region; None: not known yet.
    """
    return network_problems(fields, cidr_problems, lambda zones: zone_problems(zones, region))


def cidr_problems(cidr: str) -> list[Problem]:
    """Return a problem if the network is too large or too small. Raises ValueError for text that is not an IPv4 network."""
    return size_problems(cidr, _WIDEST, _NARROWEST)


def zone_problems(zones: Sequence[str], region: str | None = None) -> list[Problem]:
    """Return the problems of a network's zones. `region`: the provider's region; None: not known yet."""
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
        problems.append(
            Problem("zones", "the zones are in several regions", ", ".join(regions), "one region", "declare a network for each region")
        )
    return problems
