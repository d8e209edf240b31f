"""A monthly budget that mails the owner."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from ..base import Tags
from .account import AwsComponent


class Budget(AwsComponent):
    """Mails the owner when the yard's cost of a calendar month passes percentages of the budget."""

    def __init__(
        self,
        name: str,
        *,
        owner: str,
        usd_per_month: float,
        alert_at_percent: Sequence[int] = (50, 80, 100),
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the budget."""
        raise NotImplementedError
