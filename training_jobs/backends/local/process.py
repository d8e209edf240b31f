"""Processes of this machine: who is alive, who belongs to a job, and the end of all of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "GPUYARD_LEASE"  # in the environment of every process of a job: the path of its lease


def start_of(pid: int) -> str | None:
    """When a live process started, as docs/local-pool.md writes it; None for no process or a zombie."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] in {"Z", "X"} else f"{boot}/{fields[19]}"
    listing = subprocess.run(["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    state, _, started = listing.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def is_alive(pid: int, started: str) -> bool:
    """Whether this very process still runs; a number used again by another process does not count."""
    return start_of(pid) == started


def die_with_parent() -> None:
    """For preexec_fn: the kernel kills this process when its parent is gone (Linux; elsewhere `sweep` does it later)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() == 1:
            os._exit(1)


def marked(lease: Path) -> list[int]:
    """Every live process, whoever its parent is, that carries the mark of a lease."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(lease) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue  # gone meanwhile, or another user's
    return [pid for pid in found if pid != os.getpid()]


def sweep(lease: Path, spare: frozenset[int] = frozenset(), patience_s: float = 10.0) -> list[int]:
    """Kill everything that carries the mark of a lease, until nothing is left. Returns what would not go."""
    deadline = time.monotonic() + patience_s
    while left := [pid for pid in marked(lease) if pid not in spare]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or another user's now: it counts as left
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return left
        time.sleep(0.02)
    return []
