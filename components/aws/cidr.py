"""Subnets of a network: pure. The place of a zone's subnets comes from its letter alone, so adding a zone moves no other."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from ..validation.network import network_problems, size_problems

DEFAULT_CIDR = "10.0.0.0/16"
_WIDEST, _NARROWEST = 16, 20
_LETTERS = "abcdefg"
_SLOT_BITS = 3  # eight slots: one for each letter, the last for the public subnets
_PUBLIC_PREFIX = 28  # 16 addresses, the smallest that AWS makes: a NAT gateway takes one
_ZONE = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d+)([a-z])")


class Plan(NamedTuple):
    """Subnets by zone, in CIDR notation."""

    private: dict[str, str]
    """One eighth of the network each: a /19 has room for 8,187 addresses, a p5 with efa-only cards takes one."""
    public: dict[str, str]
    """A few addresses for NAT gateways; what is left of the last eighth stays free."""


def plan_subnets(cidr: str, zones: Sequence[str]) -> Plan:
    """The subnets of each zone, in the order given. Raises ValueError on what `cidr_problems` or `zone_problems` name.

    >>> plan_subnets("10.0.0.0/16", ["us-east-1b"])
    Plan(private={'us-east-1b': '10.0.32.0/19'}, public={'us-east-1b': '10.0.224.16/28'})
    """
    if problems := [*cidr_problems(cidr), *zone_problems(zones)]:
        raise ValueError("; ".join(problems))
    *slots, last = ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=_SLOT_BITS)
    small = list(islice(last.subnets(new_prefix=_PUBLIC_PREFIX), len(_LETTERS)))
    place = {zone: _LETTERS.index(zone[-1]) for zone in zones}
    return Plan({zone: str(slots[at]) for zone, at in place.items()}, {zone: str(small[at]) for zone, at in place.items()})


def spec_problems(given: Mapping[str, Any], region: str | None) -> list[str]:
    """Why this cannot be a network, a line each; `region`: the one that the provider is configured for."""
    return network_problems(given, DEFAULT_CIDR, cidr_problems, lambda zones: zone_problems(zones, region))


def cidr_problems(cidr: str) -> list[str]:
    """Why a network cannot be divided, a line each."""
    return size_problems(cidr, _WIDEST, _NARROWEST)


def zone_problems(zones: Sequence[str], region: str | None = None) -> list[str]:
    """Why these zones cannot have subnets, a line each; `region`: the one the provider is configured for, where that is known."""
    if not zones:
        return [f"zones: got none, allowed: at least one; give the zones of the pools, such as [{region or 'us-east-1'}a]"]
    problems = [problem for zone in zones for problem in _zone_problems(zone, region)]
    regions = sorted({match[1] for zone in zones if (match := _ZONE.fullmatch(zone))})
    if region is None and len(regions) > 1:
        problems.append(f"zones: got zones of {', '.join(regions)}, allowed: one region; make a network for each")
    return problems


def _zone_problems(zone: str, region: str | None) -> list[str]:
    match = _ZONE.fullmatch(zone)
    example = f"{region or 'us-east-1'}a"
    if match is None:
        return [
            f"zones: got {zone!r}, allowed: a region's name and a letter, such as {example}; "
            "a local or wavelength zone has rules of its own: make its network yourself and use Network.adopt (`existing`)"
        ]
    if match[2] not in _LETTERS:
        return [f"zones: got {zone!r}, allowed: letters {_LETTERS[0]} to {_LETTERS[-1]}; use Network.adopt (`existing`) for others"]
    if region is not None and match[1] != region:
        return [f"zones: got {zone!r}, allowed: zones of {region}, where aws:region says everything goes; give {region}{match[2]}"]
    return []
