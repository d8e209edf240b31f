"""The spec of a waiver: an accepted finding of a policy rule, with a reason and an end."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .fields import Spec, invalid

__all__ = ["PolicyRule", "WaiverSpec"]

PolicyRule = Literal[
    "no-public-address",
    "no-inbound",
    "encryption",
    "metadata-tokens",
    "one-region",
    "spot-checkpoints",
    "nodes-together",
    "gpu-limit",
    "money-limit",
    "owner-and-expires",
    "budget",
    "capacity-block",
    "pinned-image",
]


def _date(value: str) -> str:
    try:
        if datetime.date.fromisoformat(value).isoformat() != value:
            raise ValueError
    except ValueError:
        raise invalid(value, 'a quoted date such as "2027-03-31"') from None
    return value


class WaiverSpec(Spec):
    """A waiver: `gpuyard plan` accepts the findings of one rule about the matching resources until a date."""

    rule: PolicyRule = Field(description="rule of `gpuyard plan`")
    urn: str = Field(
        min_length=1,
        description="URN of the resource, or a pattern with * and ?, such as `*:Bucket::reports`; upper and lower case are the same, and "
        "only * matches a finding about the whole stack",
    )
    reason: str = Field(min_length=10, description="reason to accept the finding, at least 10 characters")
    until: Annotated[str, AfterValidator(_date)] = Field(
        description='last day of the waiver, quoted ("2027-03-31"); an expired waiver is a violation'
    )

    @property
    def last_day(self) -> datetime.date:
        """The last day on which the waiver is valid."""
        return datetime.date.fromisoformat(self.until)
