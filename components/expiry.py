"""Compute when a pool goes to zero nodes: shortly before its capacity block ends, or on the date in the tag `expires`."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import NamedTuple

from ..problems import Problem
from .spec.capacity import CapacityBlock
from .spec.fields import date_or_never
from .spec.pool import GpuPoolSpec

__all__ = ["End", "date_problems", "end_of", "is_past", "warning"]

# EC2 begins to terminate a block's machines 30 minutes before its end:
# docs.aws.amazon.com/autoscaling/ec2/userguide/launch-template-capacity-blocks.html
_BEFORE_BLOCK_ENDS = datetime.timedelta(minutes=40)
_WARN_AHEAD = datetime.timedelta(days=7)


class End(NamedTuple):
    """The time at which a pool goes to zero nodes, and the reason."""

    at: datetime.datetime
    """UTC, to the second."""
    because: str
    """The setting that decides the time, for messages."""


def end_of(spec: GpuPoolSpec, expires: str | None) -> End | None:
    """Return the pool's end: the time when it goes to zero nodes, and the reason. None: never.

    `expires`: a date (the end is at 00:00 UTC), `never` or None.

    >>> from gpuyard.components.spec.pool import GpuPoolSpec
    >>> end_of(GpuPoolSpec(service="vms", machine="g6.12xlarge", zone="us-east-1a", max_nodes=1), "2027-03-31").at.isoformat()
    '2027-03-31T00:00:00+00:00'
    """
    ends = []
    if isinstance(spec.capacity, CapacityBlock):
        block = datetime.datetime.fromisoformat(spec.capacity.ends).replace(microsecond=0)
        ends.append(End(block - _BEFORE_BLOCK_ENDS, f"its capacity block ends at {spec.capacity.ends}"))
    if expires not in (None, "never"):
        ends.append(End(datetime.datetime.fromisoformat(f"{expires}T00:00:00+00:00"), f"the yard expires on {expires}"))
    return min(ends) if ends else None


def is_past(end: End | None, now: datetime.datetime) -> bool:
    """Return whether a pool's end has passed. The yard then declares the pool with zero nodes and without a schedule."""
    return end is not None and end.at <= now


def warning(end: End | None, now: datetime.datetime) -> str | None:
    """Return a warning if a pool's end has passed or is at most 7 days ahead, else None."""
    if end is None or end.at - now > _WARN_AHEAD:
        return None
    if end.at > now:
        return f"goes to zero nodes at {end.at:%Y-%m-%dT%H:%MZ}: {end.because}"
    return f"has been at zero nodes since {end.at:%Y-%m-%dT%H:%MZ}: {end.because}; set a later date and run `pulumi up --refresh`"


def date_problems(expires: str | None) -> list[Problem]:
    """Return a problem if the tag `expires` is not a date or `never`."""
    if expires is None:
        return []
    try:
        date_or_never(str(expires))
    except ValueError as error:
        return [replace(error.args[0], key="tags.expires", what="not a date", fix="set the date on which the pool goes to zero nodes")]
    return []
