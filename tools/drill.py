"""The demo's drill: find one worker of a run on this machine, kill it with -9 and measure the recovery."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Kill", "due", "kill", "recovered", "restarts", "worker"]

_PROC = Path("/proc")


@dataclass(frozen=True)
class Kill:
    """A killed worker: the run's counters before the kill, and its time."""

    restarts: int
    lost_steps: int
    at: float


def due(status: Mapping[str, Any]) -> bool:
    """Return whether the run is in its middle: after the first checkpoint and long before the end."""
    step, steps = status["metrics"]["step"], status["metrics"]["steps"]
    return status["state"] == "RUNNING" and bool(step and steps) and 0.4 * steps <= step <= 0.75 * steps


def kill(run: str, rank: int, status: Mapping[str, Any]) -> Kill | None:
    """Kill the process of this rank with -9. Return None if the rank has no process now."""
    pid = worker(run, rank)
    if pid is None:
        return None
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return Kill(restarts(status), status["metrics"]["lost_steps"] or 0, time.monotonic())


def recovered(killed: Kill, status: Mapping[str, Any]) -> str | None:
    """Return the message once the run trains again (its first step after the restart is reported), None until then."""
    if status["state"] != "RUNNING" or restarts(status) <= killed.restarts:
        return None
    took = time.monotonic() - killed.at
    lost = status["metrics"]["lost_steps"]
    redone = f" (steps redone: {lost - killed.lost_steps})" if lost is not None else ""
    return f"training again in {took:.1f} s at step {status['metrics']['step']}{redone}"


def restarts(status: Mapping[str, Any]) -> int:
    """Return how often torchrun restarted the newest attempt."""
    return int(status["attempts"][-1]["restarts"])


def worker(run: str, rank: int) -> int | None:
    """Return the pid of this rank: the process that no other process of the same run and rank started."""
    wanted = (f"GPUYARD_RUN_ID={run}", f"RANK={rank}")
    found = {pid: parent for pid, parent, environ in _processes() if all(entry in environ for entry in wanted)}
    return next((pid for pid, parent in found.items() if parent not in found), None)


def _processes() -> Iterator[tuple[int, int, list[str]]]:
    """Yield pid, parent and environment of each process that this user may read."""
    if not _PROC.joinpath("self", "environ").exists():
        yield from _processes_of_ps()
        return
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                environ = folder.joinpath("environ").read_bytes().decode("utf-8", "replace").split("\0")
                parent = int(folder.joinpath("stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):  # the process belongs to another user, or has just ended
                continue
            yield int(folder.name), parent, environ


def _processes_of_ps() -> Iterator[tuple[int, int, list[str]]]:
    ran = subprocess.run(["ps", "axeww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=False)
    for line in ran.stdout.splitlines():
        pid, parent, *words = line.split()
        yield int(pid), int(parent), words
