"""What a node leaves in the run's output for whoever watches: progress.json while it lives, node-<i>.json at its end."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import objects as files
from .time_budget import SIGN_OF_LIFE_S

_EVERY_LOCAL_S, _EVERY_REMOTE_S = 0.5, 10.0


class Progress:
    """progress.json of one attempt, written by node 0 from what rank 0 last reported."""

    def __init__(self, attempt_url: str, attempt: int, report_file: Path) -> None:
        self.save_s: float | None = None  # what a save takes, as rank 0 last reported it
        self._url = f"{attempt_url}/progress.json"
        self._every_s = _EVERY_LOCAL_S if files.is_local(attempt_url) else _EVERY_REMOTE_S
        self._report_file = report_file
        self._written_at = 0.0
        self._told: dict[str, Any] = {}
        self._now: dict[str, Any] = {
            "attempt": attempt, "phase": "setup", "restarts": 0, "step": None, "steps": None, "metrics": {}, "first_step_at": None,
        }  # fmt: skip

    def phase(self, name: str) -> None:
        """Enter a phase, and say so at once."""
        self._now["phase"] = name
        self._report()
        self._publish(force=True)

    def alive(self) -> None:
        """Say at least once a minute that this attempt lives: where no end is told, what it used of the time limit is counted by that."""
        if time.monotonic() - self._written_at > SIGN_OF_LIFE_S:
            self._write()

    def follow(self, phase: str, restarts: int) -> None:
        """Take in the agent's state and rank 0's report; a restart is over when a step after it was reported: by count, clocks are set."""
        report = self._report()
        at = report.get("at") or 0.0
        if report and at:
            metrics = dict(report["metrics"])
            self._now |= {"step": report["step"], "steps": metrics.pop("steps", None), "metrics": metrics}
            self._now["first_step_at"] = self._now["first_step_at"] or _iso(at)
        waiting = phase == "recovering" and int(report.get("restart") or 0) < restarts and self._now["first_step_at"] is not None
        phase = "recovering" if waiting else "running"
        changed = (phase, restarts) != (self._now["phase"], self._now["restarts"])
        self._now |= {"phase": phase, "restarts": restarts}
        self._publish(force=changed)

    def _report(self) -> dict[str, Any]:
        try:
            report = json.loads(self._report_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(report, dict):
            return {}
        save_s = report.get("metrics", {}).get("save_s")
        self.save_s = save_s if isinstance(save_s, int | float) else self.save_s
        return report

    def _publish(self, force: bool = False) -> None:
        due = time.monotonic() - self._written_at > self._every_s
        if self._now == self._told or not (force or due):
            return
        self._write()

    def _write(self) -> None:
        self._written_at, self._told = time.monotonic(), dict(self._now)
        leave(self._url, {**self._now, "updated_at": now()})


def leave(url: str, document: dict[str, Any]) -> None:
    """Write a document for the watchers. A job is not ended by a watcher that cannot be told: say it and go on."""
    try:
        files.write(url, json.dumps(document, indent=1).encode())
    except OSError as error:
        print(f"gpuyard: cannot write {url}: {error}", flush=True)


def now() -> str:
    """The time, as every document of a run spells it."""
    return _iso(time.time())


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
