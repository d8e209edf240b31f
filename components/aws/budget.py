"""A monthly budget that sends mail to the owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict
from ...problems import Problem
from ..base import Tags, keywords_only, refuse, this_stack
from ..naming import name_problems
from ..validation import budget as budget_rules
from .account import AwsComponent

__all__ = ["Budget", "budget_problems"]

_MAX_ALERTS = 9  # a budget has at most ten notifications, and the forecast uses one


class Budget(AwsComponent):
    """A monthly budget. The owner gets mail when the cost exceeds a percentage of it, or when AWS forecasts more than 100 %.

    A budget stops no machine, and its figures are some hours old. Pools stop at `expires`. The budget counts the cost of every resource
    with the tag `stack`. First activate `stack` as a cost allocation tag in the account that pays (Billing and Cost Management, Cost
    allocation tags). Until then the budget reports 0 USD.
    """

    id: pulumi.Output[str]

    @keywords_only
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
        """Make the budget. `owner`: the mail address; `alert_at_percent`: 1 to 9 percentages of the budget, each reported once a month."""
        refuse(f"Budget {name}", [*name_problems(name), *budget_problems(owner, usd_per_month, alert_at_percent)])
        props = {"owner": owner, "usd_per_month": usd_per_month, "alert_at_percent": list(alert_at_percent)}
        super().__init__("Budget", name, props, tags, opts)
        budget = aws.budgets.Budget(
            self.child_name("budget"),
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{usd_per_month:.2f}",
            limit_unit="USD",
            cost_filters=[{"name": "TagKeyValue", "values": [f"user:stack${this_stack()}"]}],
            notifications=[
                *(_notification(owner, "ACTUAL", percent) for percent in sorted(alert_at_percent)),
                _notification(owner, "FORECASTED", 100),
            ],
            tags=self.aws_tags("budget"),
            opts=self.child_options(),
        )
        self.id = budget.id
        self.register_outputs({"id": self.id})


def _notification(owner: str, kind: str, percent: int) -> PlainDict:
    return {
        "notification_type": kind,
        "comparison_operator": "GREATER_THAN",
        "threshold": percent,
        "threshold_type": "PERCENTAGE",
        "subscriber_email_addresses": [owner],
    }


def budget_problems(owner: Any, usd_per_month: Any, alert_at_percent: Sequence[Any]) -> list[Problem]:
    """Return the problems of a budget."""
    return budget_rules.budget_problems(owner, usd_per_month, alert_at_percent, max_alerts=_MAX_ALERTS)
