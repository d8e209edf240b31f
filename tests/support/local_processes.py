"""What tests of the local service ask again and again: what is alive, and whether it came to a state."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from training_jobs.backends.local.process import marked
from training_jobs.runner import Runner
from training_jobs.state import State
from training_jobs.status import RunStatus

Start = Callable[..., str]


def processes(folder: Path) -> list[int]:
    """Every live process of any run of the pool."""
    pool = folder / "pool"
    runs = [path.name.rpartition(".")[0] for path in (pool / "jobs").glob("*")]
    return [pid for run in runs for pid in marked(pool / "leases" / f"{run}.json")]


def left(folder: Path) -> list[int]:
    """What is still there after a moment: a supervisor that has recorded the end still has to exit."""
    deadline = time.monotonic() + 5
    while processes(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    return processes(folder)


def until(runner: Runner, run: str, *states: State) -> RunStatus:
    deadline = time.monotonic() + 20
    while (status := runner.status(run)).state not in states:
        assert time.monotonic() < deadline, f"still {status.state} ({status.detail})"
        time.sleep(0.02)
    return status
