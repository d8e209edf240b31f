"""Subnets of a network: pure. A subnet on Azure spans all zones of a region, so adding a zone or a pool moves nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..validation.network import network_problems, size_problems

DEFAULT_CIDR = "10.0.0.0/16"
ZONES = ("1", "2", "3")
"""Names of zones in every region that has some."""
_WIDEST, _NARROWEST = 16, 22
_ENDPOINTS_PREFIX = 26  # 59 private endpoints: Azure keeps five addresses of each subnet


class SubnetPlan(NamedTuple):
    """Subnets, in CIDR notation."""

    nodes: str
    """The lower half, for the machines of all zones."""
    endpoints: str
    """The last addresses, for private endpoints; what is between stays free."""


def plan_subnets(cidr: str) -> SubnetPlan:
    """The subnets of a network. Raises ValueError on what `cidr_problems` names.

    >>> plan_subnets("10.0.0.0/16")
    SubnetPlan(nodes='10.0.0.0/17', endpoints='10.0.255.192/26')
    """
    if problems := cidr_problems(cidr):
        raise ValueError("; ".join(problems))
    network = ipaddress.IPv4Network(cidr)
    last = int(network.broadcast_address) + 1 - 2 ** (32 - _ENDPOINTS_PREFIX)
    return SubnetPlan(str(next(network.subnets())), f"{ipaddress.IPv4Address(last)}/{_ENDPOINTS_PREFIX}")


def spec_problems(given: Mapping[str, Any]) -> list[str]:
    """Why this cannot be a network, a line each."""
    return network_problems(given, DEFAULT_CIDR, cidr_problems, zone_problems)


def cidr_problems(cidr: str) -> list[str]:
    """Why a network cannot be divided, a line each."""
    return size_problems(cidr, _WIDEST, _NARROWEST)


def zone_problems(zones: Sequence[str]) -> list[str]:
    """Why pools cannot be in these zones, a line each."""
    if not zones:
        return [f'zones: got none, allowed: at least one of {", ".join(ZONES)}; give the zones of the pools, such as ["1"]']
    return [
        f"zones: got {zone!r}, allowed: {', '.join(ZONES)}, quoted: a zone's number in its region; write it without the region"
        for zone in zones
        if zone not in ZONES
    ]
