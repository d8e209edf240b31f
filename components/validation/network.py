"""What networks of all clouds ask of their addresses and zones. Pure."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def network_problems(
    given: Mapping[str, Any],
    default_cidr: str,
    cidr_problems: Callable[[str], list[str]],
    zone_problems: Callable[[Sequence[str]], list[str]],
) -> list[str]:
    """What the neutral spec cannot see. What that tells itself (no network, no list of zones) is left to it."""
    zones, problems = given.get("zones", []), []
    with contextlib.suppress(ValueError):
        problems += cidr_problems(str(given.get("cidr") or default_cidr))
    if isinstance(zones, list) and all(isinstance(zone, str) for zone in zones):
        problems += zone_problems(zones)
    return problems


def size_problems(cidr: str, widest: int, narrowest: int) -> list[str]:
    """Why a network is too large or too small, a line each.

    >>> size_problems("10.0.0.0/24", 16, 20)
    ["cidr: got '10.0.0.0/24', allowed: a network of /16 to /20; give 10.0.0.0/20"]
    """
    length = ipaddress.IPv4Network(cidr).prefixlen
    if widest <= length <= narrowest:
        return []
    base = ipaddress.IPv4Network(f"{cidr.partition('/')[0]}/{min(max(length, widest), narrowest)}", strict=False)
    return [f"cidr: got {cidr!r}, allowed: a network of /{widest} to /{narrowest}; give {base}"]
