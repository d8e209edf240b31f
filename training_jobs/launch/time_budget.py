"""Computes the remaining time of a submission on services that give each restart the full time limit (GPUYARD_LIMIT_S)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from . import objects

__all__ = ["HEARTBEAT_S", "remaining_s"]

_MOST_STARTS = 100  # a service restarts a job at most 10 times
HEARTBEAT_S = 60.0
"""Seconds between writes of progress.json. A start without a recorded end counts until this many seconds after its last write."""


def remaining_s(limit_s: float, run_url: str, submission: int, attempt: int, now: float) -> float:
    """Return the seconds left of `limit_s` at the Unix time `now`. Earlier starts without a recorded end count up to a minute more."""
    used = 0.0
    for number in range(max(1, attempt - _MOST_STARTS), attempt + 1):
        claim = _read_json(f"{run_url}/attempts/{number}.json")
        began = _unix(claim.get("began_at"))
        if claim.get("submission") != submission or began is None:
            continue
        used += max(0.0, (now if number == attempt else _end(run_url, number, claim)) - began)
    return limit_s - used


def _end(run_url: str, attempt: int, claim: dict[str, Any]) -> float:
    """Return the Unix time at which an earlier start of the nodes ended.

    Node 0's result has it. Without a result it is HEARTBEAT_S after progress.json was last written.
    """
    folder = f"{run_url}/output/attempt-{attempt}"
    ended = _unix(_read_json(f"{folder}/node-0.json").get("ended_at"))
    if ended is not None:
        return ended
    written = _unix(_read_json(f"{folder}/progress.json").get("updated_at"))
    return (written or _unix(claim.get("claimed_at")) or 0.0) + HEARTBEAT_S


def _read_json(url: str) -> dict[str, Any]:
    try:
        found = json.loads(objects.read(url) or b"{}")
    except (ValueError, RecursionError):  # its writer was killed while it wrote
        return {}
    return found if isinstance(found, dict) else {}


def _unix(moment: object) -> float | None:
    """Convert an ISO 8601 time to Unix time; None if it is missing or invalid. A job can overwrite launch's documents."""
    try:
        return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else None
    except (ValueError, OverflowError):
        return None
