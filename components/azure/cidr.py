"""Subnets of a network: pure. A subnet on Azure spans all zones of a region, so adding a zone or a pool moves nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...problems import Problem, show
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
        raise ValueError("; ".join(map(str, problems)))
    network = ipaddress.IPv4Network(cidr)
    last = int(network.broadcast_address) + 1 - 2 ** (32 - _ENDPOINTS_PREFIX)
    return SubnetPlan(str(next(network.subnets())), f"{ipaddress.IPv4Address(last)}/{_ENDPOINTS_PREFIX}")


def spec_problems(fields: Mapping[str, Any]) -> list[Problem]:
    """Return the problems of a network to create, which NetworkSpec cannot see."""
    return network_problems(fields, DEFAULT_CIDR, cidr_problems, zone_problems)


def cidr_problems(cidr: str) -> list[Problem]:
    """Return a problem if the network is too large or too small."""
    return size_problems(cidr, _WIDEST, _NARROWEST)


def zone_problems(zones: Sequence[str]) -> list[Problem]:
    """Return the problems of the zones of a network."""
    allowed = ", ".join(ZONES)
    if not zones:
        return [Problem("zones", "no zone", "none", f"at least one of {allowed}", 'list the zones of the pools, such as ["1"]')]
    return [
        Problem("zones", "not the number of a zone", show(zone), f"{allowed}, quoted", "write the zone without the region")
        for zone in zones
        if zone not in ZONES
    ]
