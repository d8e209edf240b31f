"""Rules for the addresses and zones of a network, shared by all clouds."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Sequence

from ...plain_data import PlainMapping
from ...problems import Problem, show

__all__ = ["DEFAULT_CIDR", "network_problems", "size_problems"]

DEFAULT_CIDR = "10.0.0.0/16"
"""Default CIDR block of a network. `local` has another default."""


def network_problems(
    fields: PlainMapping,
    cidr_problems: Callable[[str], Sequence[Problem]],
    zone_problems: Callable[[Sequence[str]], Sequence[Problem]],
) -> list[Problem]:
    """Return the problems that NetworkSpec cannot find. `fields`: the user's values, not validated.

    Skip a wrong type or a malformed CIDR, because NetworkSpec reports it.
    """
    zones, problems = fields.get("zones", []), list[Problem]()
    with contextlib.suppress(ValueError):
        problems += cidr_problems(str(fields.get("cidr") or DEFAULT_CIDR))
    if isinstance(zones, list) and all(isinstance(zone, str) for zone in zones):
        problems += zone_problems(zones)
    return problems


def size_problems(cidr: str, widest: int, narrowest: int) -> list[Problem]:
    """Return a problem if a network is too large or too small. `widest`, `narrowest`: prefix lengths.

    >>> print(*size_problems("10.0.0.0/24", 16, 20))
    cidr: wrong network size, got '10.0.0.0/24', allowed: a network of /16 to /20; write 10.0.0.0/20
    """
    length = ipaddress.IPv4Network(cidr).prefixlen
    if widest <= length <= narrowest:
        return []
    base = ipaddress.IPv4Network(f"{cidr.partition('/')[0]}/{min(max(length, widest), narrowest)}", strict=False)
    return [Problem("cidr", "wrong network size", show(cidr), f"a network of /{widest} to /{narrowest}", f"write {base}")]
