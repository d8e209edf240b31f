"""What is left of a submission's time where its service starts the nodes again by itself and counts each start anew (GPUYARD_LIMIT_S)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from . import objects as files

SIGN_OF_LIFE_S = 60.0
"""How often node 0 writes progress.json at least: a start whose end nobody told is taken to have lived that long after the last one."""


def left_s(limit_s: float, run_url: str, submission: int, attempt: int, now: float) -> float:
    """Seconds that are left, this attempt's own included. Earlier starts count by what they left, rather too much than too little."""
    used = 0.0
    for number in range(1, attempt + 1):
        claim = _document(f"{run_url}/attempts/{number}.json")
        if claim.get("submission") != submission or "began_at" not in claim:
            continue
        used += (now if number == attempt else _end(run_url, number, claim)) - _unix(claim["began_at"])
    return limit_s - used


def _end(run_url: str, attempt: int, claim: dict[str, Any]) -> float:
    """When an earlier start was over: as its first node wrote, or a little after it last gave a sign of life."""
    folder = f"{run_url}/output/attempt-{attempt}"
    ended = _document(f"{folder}/node-0.json").get("ended_at")
    if ended:
        return _unix(ended)
    return _unix(_document(f"{folder}/progress.json").get("updated_at") or claim["claimed_at"]) + SIGN_OF_LIFE_S


def _document(url: str) -> dict[str, Any]:
    try:
        found = json.loads(files.read(url) or b"{}")
    except ValueError:  # torn by the end of its writer
        return {}
    return found if isinstance(found, dict) else {}


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
