"""A monthly budget that sends mail to the owner."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_azure_native as az

from ...plain_data import PlainDict
from ...problems import Problem
from ..base import Tags, keywords_only, refuse, this_stack
from ..naming import name_problems
from ..validation import budget as budget_rules
from .account import AzureComponent, ResourceGroup, account, group_problems

__all__ = ["Budget", "budget_problems"]

_MOST = 4  # Azure takes five notifications of a budget; the forecast is one


class Budget(AzureComponent):
    """A monthly budget. The owner gets mail when the cost exceeds a percentage of it, or when Azure forecasts more than 100 %.

    A budget stops no machine, and its figures are some hours old. Pools stop at `expires`. The budget counts the cost of every resource
    with the tag `stack` in the subscription, or of one resource group.
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
        resource_group: pulumi.Input[str] | ResourceGroup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the budget. `owner`: the mail address; `alert_at_percent`: 1 to 4 percentages of the budget, each reported once a month.

        The amount is in the subscription's currency, because Azure budgets have no other. `resource_group`: count every resource of this
        group (default: every resource with the stack's tag).
        """
        found = [*name_problems(name), *budget_problems(owner, usd_per_month, alert_at_percent), *group_problems(resource_group)]
        refuse(f"Budget {name}", found)
        props = {"owner": owner, "usd_per_month": usd_per_month, "alert_at_percent": list(alert_at_percent)}
        super().__init__("Budget", name, props, tags, opts)
        scope, filtered = self._scope(resource_group)
        budget = az.consumption.Budget(
            self.child_name("budget"),
            scope=scope,
            amount=usd_per_month,
            category="Cost",
            time_grain="Monthly",
            time_period={"start_date": f"{datetime.datetime.now(datetime.UTC):%Y-%m}-01T00:00:00Z"},  # Azure allows only this month's
            notifications={
                **{f"actual-{percent}": _notification(owner, "Actual", percent) for percent in sorted(alert_at_percent)},
                "forecast-100": _notification(owner, "Forecasted", 100),
            },
            opts=self.child_options(ignore_changes=["timePeriod"]),  # the first start date stays: an `up` in a later month changes nothing
            **filtered,
        )
        self.id = budget.id
        self.register_outputs({"id": self.id})

    def _scope(self, resource_group: pulumi.Input[str] | ResourceGroup | None) -> tuple[pulumi.Output[str], PlainDict]:
        if resource_group is not None:
            self.use_group(resource_group)
            return self.group.id, {}
        own = {"filter": {"tags": {"name": "stack", "operator": "In", "values": [this_stack()]}}}
        return account(self).subscription_id.apply(lambda subscription: f"/subscriptions/{subscription}"), own


def _notification(owner: str, kind: str, percent: int) -> PlainDict:
    return {"enabled": True, "operator": "GreaterThan", "threshold": percent, "threshold_type": kind, "contact_emails": [owner]}


def budget_problems(owner: Any, usd_per_month: Any, alert_at_percent: Sequence[Any]) -> list[Problem]:
    """Return the problems of a budget."""
    return budget_rules.budget_problems(owner, usd_per_month, alert_at_percent, max_alerts=_MOST)
