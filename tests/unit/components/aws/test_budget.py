"""AWS's Budget: cost filter, mails, wrong inputs, and acceptance by AWS's API (moto)."""

from __future__ import annotations

from typing import Any

import boto3
import pulumi
import pytest
from moto import mock_aws

from gpuyard.components.aws import Budget

OWNER = "ml-platform@acme.io"
TOKEN = "aws:budgets/budget:Budget"


@pytest.mark.parametrize("preview", [False, True])
def test_the_owner_is_mailed_at_each_percentage_and_when_the_month_is_forecast_to_exceed_it(record: Any, preview: bool) -> None:
    recorded = record(lambda: Budget("budget", owner=OWNER, usd_per_month=1500, tags={"owner": OWNER}), preview=preview)
    assert [(request.type, request.name) for request in recorded.resources.values()] == [
        ("gpuyard-aws:index:Budget", "budget"),
        (TOKEN, "budget-budget"),
    ]
    found = recorded.inputs(TOKEN, "budget-budget")
    mails = {"comparisonOperator": "GREATER_THAN", "thresholdType": "PERCENTAGE", "subscriberEmailAddresses": [OWNER]}
    assert found.pop("notifications") == [
        *({"notificationType": "ACTUAL", "threshold": percent, **mails} for percent in (50, 80, 100)),
        {"notificationType": "FORECASTED", "threshold": 100, **mails},
    ]
    assert found.pop("tags") == {"owner": OWNER, "stack": "gpuyard/local", "Name": "budget-budget"}
    assert found == {
        "budgetType": "COST",
        "timeUnit": "MONTHLY",
        "limitAmount": "1500.00",
        "limitUnit": "USD",
        "costFilters": [{"name": "TagKeyValue", "values": ["user:stack$gpuyard/local"]}],
    }
    assert set(recorded.outputs("Budget")) == {"id"}


def test_the_components_inputs_contain_the_budget_for_the_plan(record: Any) -> None:
    recorded = record(lambda: Budget("b", owner=OWNER, usd_per_month=9.5, alert_at_percent=[90, 10]))
    found = recorded.inputs("gpuyard-aws:index:Budget", "b")
    assert found == {"owner": OWNER, "usd_per_month": 9.5, "alert_at_percent": [90, 10], "tags": {}}


def test_aws_accepts_the_largest_number_of_notifications(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    recorded = record(lambda: Budget("b", owner=OWNER, usd_per_month=10, alert_at_percent=range(10, 100, 10)))
    found = recorded.inputs(TOKEN, "b-budget")

    def notification(one: dict[str, Any]) -> dict[str, Any]:
        keys = ("notificationType", "comparisonOperator", "threshold", "thresholdType")
        subscribers = [{"SubscriptionType": "EMAIL", "Address": address} for address in one["subscriberEmailAddresses"]]
        return {"Notification": {key[0].upper() + key[1:]: one[key] for key in keys}, "Subscribers": subscribers}

    with mock_aws():
        client = boto3.client("budgets", region_name="us-east-1")
        client.create_budget(
            AccountId="123456789012",
            Budget={
                "BudgetName": "b",
                "BudgetType": found["budgetType"],
                "TimeUnit": found["timeUnit"],
                "BudgetLimit": {"Amount": found["limitAmount"], "Unit": found["limitUnit"]},
                "CostFilters": {one["name"]: one["values"] for one in found["costFilters"]},
            },
            NotificationsWithSubscribers=[notification(one) for one in found["notifications"]],
        )
        (made,) = client.describe_budgets(AccountId="123456789012")["Budgets"]
        client.close()
    assert made["CostFilters"] == {"TagKeyValue": ["user:stack$gpuyard/local"]}
    assert len(found["notifications"]) == 10
    limit = client.meta.service_model.shape_for("NotificationWithSubscribersList").metadata["max"]
    assert limit == 10


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"owner": "me", "usd_per_month": 0, "alert_at_percent": []},
            [
                "Budget b: 3 problems",
                "owner: not a mail address, got 'me', allowed: a mail address",
                "usd_per_month: wrong amount, got 0",
                "alert_at_percent: wrong percentages, got []",
            ],
        ),
        (
            {"owner": None, "usd_per_month": float("inf")},
            ["owner: not a mail address, got nothing", "usd_per_month: wrong amount, got inf"],
        ),
        ({"owner": OWNER, "usd_per_month": float("nan")}, ["usd_per_month: wrong amount, got nan"]),
        ({"owner": OWNER, "usd_per_month": 1, "alert_at_percent": [50, 50]}, ["each once"]),
        ({"owner": OWNER, "usd_per_month": 1, "alert_at_percent": range(10, 110, 10)}, ["1 to 9 whole numbers"]),
        ({"owner": OWNER, "usd_per_month": 1, "alert_at_percent": [0.5]}, ["got [0.5]"]),
    ],
)
def test_all_wrong_inputs_are_reported(record: Any, arguments: Any, expected: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(lambda: Budget("b", **arguments))
    assert all(text in str(caught.value) for text in expected), str(caught.value)
