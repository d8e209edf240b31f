"""Amounts of money and their sums. An amount is known, has only an upper bound, or is unknown."""

from __future__ import annotations

from collections.abc import Iterable

from .document import Amount

__all__ = ["UNKNOWN", "at_most", "exact", "total"]

UNKNOWN = Amount(low=0, high=None)


def exact(usd: float) -> Amount:
    """Return a known amount."""
    return Amount(low=usd, high=usd)


def at_most(usd: float) -> Amount:
    """Return an amount of which only the upper bound is known."""
    return Amount(low=0, high=usd)


def total(amounts: Iterable[Amount]) -> Amount:
    """Return the sum; it has no upper bound if a part has none."""
    return sum(amounts, exact(0))
