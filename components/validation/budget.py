"""Rules for a monthly budget: its owner, amount and alert percentages."""

from __future__ import annotations

from collections.abc import Sequence

from ...problems import Problem, show
from ..spec.fields import MAIL

__all__ = ["budget_problems"]


def budget_problems(
    owner: object, usd_per_month: object, alert_at_percent: object, *, max_alerts: int | None = None, whole_dollars: bool = False
) -> list[Problem]:
    """Return the problems of a budget.

    `max_alerts`: number of alert percentages that the cloud accepts (default: any number). `whole_dollars`: the cloud accepts no cents.
    """
    problems = []
    if not isinstance(owner, str) or not MAIL.fullmatch(owner):
        allowed = "a mail address such as ml-platform@acme.io"
        problems.append(Problem("owner", "not a mail address", show(owner), allowed, "set owner to the receiver of the budget's alerts"))
    if not _is_amount(usd_per_month, whole_dollars):
        allowed = "a whole number of USD, 1 or more" if whole_dollars else "an amount of 0.01 USD or more"
        problems.append(Problem("usd_per_month", "wrong amount", show(usd_per_month), allowed, "change usd_per_month"))
    if not _are_percentages(alert_at_percent, max_alerts):
        count = f"1 to {max_alerts} whole numbers" if max_alerts else "whole numbers"
        allowed = f"{count} from 1 to 1000, each once"
        shown = list(alert_at_percent) if isinstance(alert_at_percent, tuple) else alert_at_percent
        problems.append(Problem("alert_at_percent", "wrong percentages", show(shown), allowed, "change alert_at_percent"))
    return problems


def _is_amount(value: object, whole_dollars: bool) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return (1 if whole_dollars else 0.01) <= value < float("inf") and not (whole_dollars and value % 1)


def _is_percentage(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000


def _are_percentages(values: object, max_alerts: int | None) -> bool:
    if not isinstance(values, Sequence) or isinstance(values, str) or not all(_is_percentage(value) for value in values):
        return False
    return 1 <= len(values) <= (max_alerts or len(values)) and len(set(values)) == len(values)
