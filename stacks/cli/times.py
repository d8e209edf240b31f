"""Times that a user types: `10m` ago, or an ISO time."""

from __future__ import annotations

import time
from datetime import datetime

from gpuyard.problems import Problem
from gpuyard.training_jobs.durations import seconds
from gpuyard.training_jobs.errors import UsageError

__all__ = ["parse_moment"]


def parse_moment(option: str, text: str) -> float:
    """Return a Unix time from a duration before now, or from an ISO time in this machine's time zone. Raises UsageError."""
    try:
        return time.time() - seconds(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        allowed = "a duration such as 10m, or an ISO time such as 2026-11-22T03:00"
        raise UsageError(f"{option} is not a time", [Problem(option, "wrong value", text, allowed)]) from None
