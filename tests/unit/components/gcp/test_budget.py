"""GCP's Budget: its filter, the mail alerts, and the inputs that it refuses."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from gpuyard.components.gcp import Budget

OWNER = "ml-platform@acme.io"
TOKEN, CHANNEL = "gcp:billing/budget:Budget", "gcp:monitoring/notificationChannel:NotificationChannel"


@pytest.mark.parametrize("preview", [False, True])
def test_the_owner_gets_a_mail_at_each_percentage_and_for_the_forecast(record: Any, preview: bool) -> None:
    recorded = record(lambda: Budget("budget", owner=OWNER, usd_per_month=1500, tags={"owner": OWNER}), preview=preview)
    assert [(request.type, request.name) for request in recorded.resources.values()] == [
        ("gpuyard-gcp:index:Budget", "budget"),
        (CHANNEL, "budget-owner"),
        (TOKEN, "budget-budget"),
    ]
    assert set(recorded.outputs("Budget")) == {"id"}
    channel = recorded.inputs(CHANNEL, "budget-owner")
    assert (channel["type"], channel["labels"]) == ("email", {"email_address": OWNER})
    if preview:
        return
    found = recorded.inputs(TOKEN, "budget-budget")
    [channel] = found["allUpdatesRule"].pop("monitoringNotificationChannels")
    assert channel.startswith("projects/acme-ml/notificationChannels/")
    assert found == {
        "billingAccount": "01AB23-45CD67-89EF01",
        "displayName": "gpuyard/local budget",
        "amount": {"specifiedAmount": {"currencyCode": "USD", "units": "1500"}},
        "budgetFilter": {
            "projects": ["projects/123456789012"],  # by number, because Google refuses ids here
            "labels": {"gpuyard_stack": "gpuyard-local"},  # one label at most
            "calendarPeriod": "MONTH",
        },
        "thresholdRules": [
            *({"thresholdPercent": part, "spendBasis": "CURRENT_SPEND"} for part in (0.5, 0.8, 1.0)),
            {"thresholdPercent": 1.0, "spendBasis": "FORECASTED_SPEND"},
        ],
        "allUpdatesRule": {"disableDefaultIamRecipients": True},
    }


def test_the_plan_finds_the_spec_in_the_components_inputs(record: Any) -> None:
    found = record(lambda: Budget("b", owner=OWNER, usd_per_month=9, alert_at_percent=[90, 10])).inputs("gpuyard-gcp:index:Budget", "b")
    assert found == {"owner": OWNER, "usd_per_month": 9, "alert_at_percent": [90, 10], "tags": {}}


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
        ({"owner": OWNER, "usd_per_month": 99.5}, ["a whole number of USD"]),
        ({"owner": OWNER, "usd_per_month": 1, "alert_at_percent": [50, 50]}, ["each once"]),
        ({"owner": OWNER, "usd_per_month": 1, "alert_at_percent": [0.5]}, ["got [0.5]"]),
    ],
)
def test_all_wrong_inputs_are_reported(record: Any, arguments: Any, expected: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(lambda: Budget("b", **arguments))
    assert all(text in str(caught.value) for text in expected), str(caught.value)
