"""What may be asked of a budget: who is mailed, how much, at which percentages. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


def budget_problems(
    owner: Any, usd_per_month: Any, alert_at_percent: Sequence[Any], *, most: int | None = None, whole: bool = False
) -> list[str]:
    """Why this cannot be a budget, a line each. `most`: alerts that the cloud takes; `whole`: it counts whole dollars alone."""
    problems = []
    if not isinstance(owner, str) or not _MAIL.fullmatch(owner):
        problems.append(f"owner: got {owner!r}, allowed: a mail address such as ml-platform@acme.io; the budget mails its owner")
    least, wants = (1, "a whole number of USD, 1 or more") if whole else (0.01, "an amount of 0.01 USD or more")
    number = isinstance(usd_per_month, int | float) and not isinstance(usd_per_month, bool)
    if not number or not least <= usd_per_month < float("inf") or (whole and usd_per_month % 1):
        problems.append(f"usd_per_month: got {usd_per_month!r}, allowed: {wants}; correct it")
    percents = list(alert_at_percent)
    right = all(isinstance(percent, int) and not isinstance(percent, bool) and 1 <= percent <= 1000 for percent in percents)
    if not right or not 1 <= len(percents) <= (most or len(percents)) or len(set(percents)) < len(percents):
        range_ = f"1 to {most} whole numbers" if most else "whole numbers"
        problems.append(f"alert_at_percent: got {percents!r}, allowed: {range_} of 1 to 1000, each once; correct it")
    return problems
