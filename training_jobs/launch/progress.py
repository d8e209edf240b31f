"""Writes the documents of an attempt: progress.json while it runs, node-<i>.json and preflight.json."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import objects
from .curves import Curves
from .time_budget import HEARTBEAT_S

__all__ = ["ProgressWriter", "utc_now", "write_document"]

_MOST_BYTES = 2**20  # the largest report that is read
_EVERY_S = {"file": 0.5, "abfs": 90.0}
"""Scheme -> seconds between two writes. Blob Storage keeps each write as a version for a day, and recommends fewer than 1,000 versions of a
blob: learn.microsoft.com/azure/storage/blobs/versioning-overview, read on 2026-12-01."""
_EVERY_REMOTE_S = 10.0


class ProgressWriter:
    """Writes progress.json on node 0 from rank 0's reports. `save_s`: the reported duration of a save."""

    def __init__(self, attempt_url: str, attempt: int, report_file: Path) -> None:
        self.save_s: float | None = None
        self._url = f"{attempt_url}/progress.json"
        self._every_s = _EVERY_S.get(attempt_url.partition(":")[0], _EVERY_REMOTE_S)
        self._report_file = report_file
        self._written_at = 0.0
        self._written: dict[str, Any] = {}
        self._current: dict[str, Any] = {
            "attempt": attempt, "phase": "setup", "restarts": 0, "step": None, "steps": None, "metrics": {}, "first_step": None,
            "first_step_at": None, "curves": {},
        }  # fmt: skip
        self._curves = Curves()

    def restore_curves(self, document: object) -> None:
        """Continue the curves of the previous attempt. `document`: `curves` of its progress.json."""
        self._curves.restore(document)
        self._current["curves"] = self._curves.as_document()

    def set_phase(self, name: str) -> None:
        """Set the phase and write it at once."""
        self._current["phase"] = name
        self._read_report()
        self._publish(force=True)

    def heartbeat(self) -> None:
        """Write the file if the last write was a minute ago. The time limit counts a killed attempt until its last write."""
        if time.monotonic() - self._written_at > max(HEARTBEAT_S, self._every_s):
            self._write()

    def update(self, phase: str, restarts: int) -> None:
        """Write the agent's state and rank 0's report.

        A restart is over when a restarted worker reports a step. The restart count in the report decides this, because times from a wrong
        clock could not.
        """
        report = self._read_report()
        at = report.get("at") or 0.0
        if report and at:
            metrics = dict(report["metrics"])
            self._current |= {"step": report["step"], "steps": metrics.pop("steps", None), "metrics": metrics}
            self._curves.add(report["step"], metrics)
            self._current["curves"] = self._curves.as_document()
            if self._current["first_step_at"] is None:
                self._current |= {"first_step": report["step"], "first_step_at": _iso(at)}
        waiting = phase == "recovering" and int(report.get("restart") or 0) < restarts and self._current["first_step_at"] is not None
        phase = "recovering" if waiting else "running"
        changed = (phase, restarts) != (self._current["phase"], self._current["restarts"])
        self._current |= {"phase": phase, "restarts": restarts}
        self._publish(force=changed)

    def _read_report(self) -> dict[str, Any]:
        """Return rank 0's report; empty if there is no valid report. The job may have written anything there, even a pipe."""
        try:
            with open(os.open(self._report_file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
                report: dict[str, Any] = json.loads(file.read(_MOST_BYTES))
            metrics, _, _ = report["metrics"], _iso(float(report.get("at") or 0.0)), int(report.get("restart") or 0)
            save_s = metrics.get("save_s")
            report.setdefault("step", None)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return {}
        self.save_s = save_s if isinstance(save_s, int | float) else self.save_s
        return report

    def _publish(self, force: bool = False) -> None:
        due = time.monotonic() - self._written_at > self._every_s
        if self._current == self._written or not (force or due):
            return
        self._write()

    def _write(self) -> None:
        self._written_at, self._written = time.monotonic(), dict(self._current)
        write_document(self._url, {**self._current, "updated_at": utc_now()})


def write_document(url: str, document: Mapping[str, object]) -> None:
    """Write a JSON document. If storage fails, only print the error: a failed report must not end a job."""
    try:
        objects.write(url, json.dumps(document, indent=1).encode())
    except OSError as error:
        print(f"gpuyard: cannot write {url}: {error}", flush=True)


def utc_now() -> str:
    """Return the current UTC time in ISO 8601 with milliseconds, the format of a run's documents."""
    return _iso(time.time())


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
