"""Plan the subnets of a network. A zone's letter alone decides its addresses, so adding a zone moves no other subnet."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from ...plain_data import PlainMapping
from ...problems import Problem, show
from ..validation.network import network_problems, size_problems

__all__ = ["ZoneSubnets", "cidr_problems", "plan_subnets", "spec_problems", "zone_problems"]

_WIDEST, _NARROWEST = 16, 20
_LETTERS = "abcdefg"
_SLOT_BITS = 3  # eight parts: one for each letter, and the last one for the public subnets
_PUBLIC_PREFIX = 28  # 16 addresses, the smallest subnet on AWS; a NAT gateway uses one address
_ZONE = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d+)([a-z])")


class ZoneSubnets(NamedTuple):
    """Subnets by zone, in CIDR notation."""

    private: dict[str, str]
    """One eighth of the network for each zone. A /19 has 8,187 usable addresses; a p5 node with efa-only cards uses one."""
    public: dict[str, str]
    """A /28 for the NAT gateway of each zone, from the last eighth of the network."""


def plan_subnets(cidr: str, zones: Sequence[str]) -> ZoneSubnets:
    """Return the subnets of each zone, in the order given. Raises ValueError if `cidr_problems` or `zone_problems` finds a problem.

    >>> plan_subnets("10.0.0.0/16", ["us-east-1b"])
    ZoneSubnets(private={'us-east-1b': '10.0.32.0/19'}, public={'us-east-1b': '10.0.224.16/28'})
    """
    if problems := [*cidr_problems(cidr), *zone_problems(zones)]:
        raise ValueError("; ".join(map(str, problems)))
    *slots, last = ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=_SLOT_BITS)
    small = list(islice(last.subnets(new_prefix=_PUBLIC_PREFIX), len(_LETTERS)))
    letters = {zone: _LETTERS.index(zone[-1]) for zone in zones}
    return ZoneSubnets(
        private={zone: str(slots[index]) for zone, index in letters.items()},
        public={zone: str(small[index]) for zone, index in letters.items()},
    )


def spec_problems(fields: PlainMapping, region: str | None) -> list[Problem]:
    """Return the problems of a new network that NetworkSpec cannot check. `region`: the provider's region."""
    return network_problems(fields, cidr_problems, lambda zones: zone_problems(zones, region))


def cidr_problems(cidr: str) -> list[Problem]:
    """Return a problem if the network is too large or too small."""
    return size_problems(cidr, _WIDEST, _NARROWEST)


def zone_problems(zones: Sequence[str], region: str | None = None) -> list[Problem]:
    """Return the problems of a network's zones. `region`: the provider's region; None: unknown."""
    if not zones:
        return [Problem("zones", "no zone", "none", "at least one", f"list the zones of the pools, such as [{region or 'us-east-1'}a]")]
    problems = [problem for zone in zones for problem in _zone_problems(zone, region)]
    regions = sorted({match[1] for zone in zones if (match := _ZONE.fullmatch(zone))})
    if region is None and len(regions) > 1:
        problems.append(
            Problem("zones", "the zones are in several regions", ", ".join(regions), "one region", "declare a network for each region")
        )
    return problems


def _zone_problems(zone: str, region: str | None) -> list[Problem]:
    match = _ZONE.fullmatch(zone)
    if match is None:
        allowed = f"a region and a letter, such as {region or 'us-east-1'}a"
        fix = "for a local or wavelength zone, create the network yourself and use Network.adopt (`existing`)"
        return [Problem("zones", "not an availability zone", show(zone), allowed, fix)]
    if match[2] not in _LETTERS:
        fix = "for another zone, use Network.adopt (`existing`)"
        return [Problem("zones", "gpuyard plans no subnet for this letter", show(zone), f"letters {_LETTERS[0]} to {_LETTERS[-1]}", fix)]
    if region is not None and match[1] != region:
        allowed, fix = f"zones of {region}, the region that aws:region sets", f"write {region}{match[2]}"
        return [Problem("zones", "not in the stack's region", show(zone), allowed, fix)]
    return []
