"""Finds the processes of the local service that are still alive."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from gpuyard.training_jobs.backends.local.process import marked_pids

Start = Callable[..., str]


def processes(folder: Path) -> list[int]:
    """Return every live process of any run of the pool."""
    pool = folder / "pool"
    runs = [path.name.rpartition(".")[0] for path in (pool / "jobs").glob("*")]
    return [pid for run in runs for pid in marked_pids(pool / "leases" / f"{run}.json")]


def leftover_processes(folder: Path) -> list[int]:
    """Return the processes that are still alive after a short wait, because a supervisor exits only after it has recorded the end."""
    deadline = time.monotonic() + 5
    while processes(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    return processes(folder)
