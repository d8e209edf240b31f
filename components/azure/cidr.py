"""IPv4 ranges of a network's subnets, and which zones a network may have. Pure functions.

A subnet on Azure spans all zones of a region, so adding a zone changes no range.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...problems import Problem, show
from ..validation.network import network_problems, size_problems

__all__ = ["ZONES", "SubnetPlan", "cidr_problems", "plan_subnets", "spec_problems", "ssh_source_problems", "zone_problems"]

ZONES = ("1", "2", "3")
"""Names of the availability zones, the same in every region that has zones."""
_WIDEST, _NARROWEST = 16, 22
_ENDPOINTS_PREFIX = 26  # 59 private endpoints: Azure reserves 5 of the 64 addresses


class SubnetPlan(NamedTuple):
    """The ranges of a network's subnets in CIDR notation."""

    nodes: str
    """The first half of the network, for the machines of all zones."""
    endpoints: str
    """The last 64 addresses, for private endpoints. The addresses between the two subnets stay free."""


def plan_subnets(cidr: str) -> SubnetPlan:
    """Return the subnets of a network. Raises ValueError for a network that `cidr_problems` refuses.

    >>> plan_subnets("10.0.0.0/16")
    SubnetPlan(nodes='10.0.0.0/17', endpoints='10.0.255.192/26')
    """
    if problems := cidr_problems(cidr):
        raise ValueError("; ".join(map(str, problems)))
    network = ipaddress.IPv4Network(cidr)
    last = int(network.broadcast_address) + 1 - 2 ** (32 - _ENDPOINTS_PREFIX)
    return SubnetPlan(str(next(network.subnets())), f"{ipaddress.IPv4Address(last)}/{_ENDPOINTS_PREFIX}")


def spec_problems(fields: Mapping[str, object]) -> list[Problem]:
    """Return the problems of a new network that NetworkSpec cannot check. `fields`: the spec as the user wrote it."""
    return network_problems(fields, cidr_problems, zone_problems)


def cidr_problems(cidr: str) -> list[Problem]:
    """Return a problem if the network is too large or too small. Raises ValueError for text that is not an IPv4 network."""
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


def ssh_source_problems(sources: Sequence[str]) -> list[Problem]:
    """Return a problem for each source of SSH that is not a private network. Machines have no public address.

    >>> print(*ssh_source_problems(["10.60.254.0/26", "203.0.112.0/24"]))
    ssh_sources.1: not a private network, got '203.0.112.0/24', allowed: a private network, such as the Bastion subnet 10.60.254.0/26
    """
    allowed = "a private network, such as the Bastion subnet 10.60.254.0/26"
    return [
        Problem(f"ssh_sources.{index}", "not a private network", show(source), allowed)
        for index, source in enumerate(sources)
        if not _is_private(source)
    ]


def _is_private(source: object) -> bool:
    try:
        return ipaddress.IPv4Network(str(source)).is_private
    except ValueError:
        return False
