"""Find, check and kill the processes of a job on this machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["MARK", "die_with_parent", "is_alive", "is_stopped", "kill_marked", "marked_pids", "start_time", "wait_until_dead"]

MARK = "GPUYARD_LEASE"  # an environment variable of every process of a job: the path of its lease


def start_time(pid: int) -> str | None:
    """Return the start time of a live process in the format of docs/local-pool.md. None for a zombie or a missing process."""
    state, started = _state(pid)
    return None if state in ("Z", "X") else started


def _state(pid: int) -> tuple[str, str | None]:
    """Return a process's state (proc(5), ps(1)) and start time; None if it does not exist."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return "", None
        return fields[0], f"{boot}/{fields[19]}"
    listing = subprocess.run(["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    state, _, started = listing.strip().partition(" ")
    return state[:1], started.strip() or None


def is_alive(pid: int, started: str) -> bool:
    """Return whether this process still runs. A later process with the same number does not count."""
    return start_time(pid) == started


def is_stopped(pid: int) -> bool:
    """Return whether a signal such as SIGSTOP, or a debugger, has stopped this process."""
    return _state(pid)[0] in ("T", "t")


def wait_until_dead(pid: int, started: str, timeout_s: float = 10.0) -> None:
    """Wait until this process has exited, or for `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while is_alive(pid, started) and time.monotonic() < deadline:
        time.sleep(0.02)


def die_with_parent() -> None:
    """Make the kernel kill this process when its parent exits (Linux). Use as preexec_fn. On other systems use `kill_marked`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() == 1:
            os._exit(1)


def marked_pids(lease: Path) -> list[int]:
    """Return the pids of all live processes whose environment has the lease's path (MARK), except this process."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(lease) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue  # it has exited, or belongs to another user
    return [pid for pid in found if pid != os.getpid()]


def kill_marked(lease: Path, spare: frozenset[int] = frozenset(), timeout_s: float = 10.0) -> list[int]:
    """Kill all processes whose environment has the lease's path (MARK). Returns the pids still alive at the timeout."""
    deadline = time.monotonic() + timeout_s
    while alive := [pid for pid in marked_pids(lease) if pid not in spare]:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # the next round counts it if it is still alive
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.02)
    return []
