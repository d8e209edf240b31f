"""A monthly budget that sends mail to the owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_gcp import billing, monitoring

from ...problems import Problem
from ..base import Tags, keywords_only, refuse, this_stack
from ..naming import name_problems
from ..validation import budget as budget_rules
from .labels import STACK_LABEL, label_value
from .project import GcpComponent, ProjectLookup

__all__ = ["Budget", "budget_problems"]


class Budget(GcpComponent):
    """A monthly budget. The owner gets mail when the cost exceeds a percentage of it, or when Google forecasts more than 100 %.

    A budget stops no machine, and its figures are some hours old. Pools stop at `expires`. The budget counts the cost of everything with
    the label `gpuyard_stack`: the yard's resources and its jobs. The project needs a billing account and the Cloud Billing API. The user
    who runs `pulumi up` needs roles/billing.costsManager on that account. With a user's own credentials, also set `gcp:billingProject` and
    `gcp:userProjectOverride`.
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
        """Make the budget. `owner`: the mail address; `alert_at_percent`: percentages of the budget, each reported once a month.

        The amount must be a whole number of USD. The currency of the billing account must be USD.
        """
        refuse(f"Budget {name}", [*name_problems(name), *budget_problems(owner, usd_per_month, alert_at_percent)])
        props = {"owner": owner, "usd_per_month": usd_per_month, "alert_at_percent": list(alert_at_percent)}
        super().__init__("Budget", name, props, tags, opts)
        where = ProjectLookup(self)
        channel = monitoring.NotificationChannel(
            self.child_name("owner"),
            type="email",
            display_name=f"owner of {this_stack()}",
            labels={"email_address": owner},
            user_labels=self.gcp_labels("owner"),
            opts=self.child_options(),
        )
        budget = billing.Budget(
            self.child_name("budget"),
            billing_account=where.billing_account,
            display_name=f"{this_stack()} {name}"[:60],
            budget_filter={
                "projects": [where.number.apply(lambda number: f"projects/{number}")],
                "labels": {STACK_LABEL: label_value(this_stack())},
                "calendar_period": "MONTH",
            },
            amount={"specified_amount": {"currency_code": "USD", "units": str(int(usd_per_month))}},
            threshold_rules=[
                *({"threshold_percent": percent / 100, "spend_basis": "CURRENT_SPEND"} for percent in sorted(alert_at_percent)),
                {"threshold_percent": 1.0, "spend_basis": "FORECASTED_SPEND"},
            ],
            all_updates_rule={"monitoring_notification_channels": [channel.id], "disable_default_iam_recipients": True},
            opts=self.child_options(),
        )
        self.id = budget.id
        self.register_outputs({"id": self.id})


def budget_problems(owner: Any, usd_per_month: Any, alert_at_percent: Sequence[Any]) -> list[Problem]:
    """Return the problems of a budget."""
    return budget_rules.budget_problems(owner, usd_per_month, alert_at_percent, whole_dollars=True)
