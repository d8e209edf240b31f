"""Compute how many nodes of a pool cost money, idle and with every node on, and for how many hours of the next month."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from ..expiry import End, end_of
from .yard import RecordedPool

__all__ = ["HOURS_PER_MONTH", "PaidNodes", "paid_nodes"]

HOURS_PER_MONTH = 730
_PAID_IN_ADVANCE = ("reservation", "capacity_block")


class PaidNodes(NamedTuple):
    """The number of a pool's nodes that cost money."""

    idle: int
    """Nodes that cost money while no job runs: min_nodes, or all nodes of a reservation or capacity block."""
    full: int
    hours: float
    """Hours of the next month until the pool's end, at most 730."""
    end: End | None
    """Time at which the pool goes to zero nodes, with its reason. None: never."""

    @property
    def closed(self) -> bool:
        """Whether the pool's end has passed."""
        return self.hours == 0


def paid_nodes(pool: RecordedPool, now: datetime.datetime) -> PaidNodes:
    """Return the nodes of a pool that cost money. After the pool's end, no node costs money."""
    expires = pool.tags.get("expires")
    end = end_of(pool.spec, expires if isinstance(expires, str) else None)
    left = (end.at - now).total_seconds() / 3600 if end else HOURS_PER_MONTH
    hours = min(max(left, 0), HOURS_PER_MONTH)
    if hours == 0:
        return PaidNodes(0, 0, 0, end)
    spec = pool.spec
    return PaidNodes(spec.max_nodes if spec.mode in _PAID_IN_ADVANCE else spec.min_nodes, spec.max_nodes, hours, end)
