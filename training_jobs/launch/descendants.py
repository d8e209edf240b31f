"""Adopts and kills orphaned descendants, so that no process outlives its job, even a detached process (Linux).

A process that leaves its session, clears its environment or forks twice still becomes a child of the nearest subreaper (prctl(2)).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection

__all__ = ["adopt_orphans", "descendants", "kill_adopted", "reap_orphans"]

_PR_SET_CHILD_SUBREAPER = 36
_adopts: list[bool] = []


def adopt_orphans() -> None:
    """Make this process a subreaper: it becomes the parent of descendants whose own parent exits."""
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
            _adopts[:] = [True]


def descendants(root: int) -> list[int]:
    """Return the live descendants of a process, without zombies. Empty on systems without /proc."""
    children: dict[int, list[int]] = {}
    alive = set()
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir("/proc"):
            if name.isdecimal() and (found := _stat(name)):
                state, parent = found
                children.setdefault(parent, []).append(int(name))
                if state not in "ZX":
                    alive.add(int(name))
    reached, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        waiting += below
        reached += below
    return [pid for pid in reached if pid in alive]


def reap_orphans(known: Collection[int] = ()) -> None:
    """Wait for adopted processes that have exited, so that no zombies stay. `known`: children that other code waits for."""
    while _adopts:
        try:
            exited = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if exited is None or exited.si_pid in known:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(exited.si_pid, os.WNOHANG)


def kill_adopted(known: Collection[int] = (), timeout_s: float = 10.0) -> list[int]:
    """Kill every descendant, if this process adopts orphans. Returns the pids that are still alive at the timeout."""
    deadline = time.monotonic() + timeout_s
    while _adopts and (alive := descendants(os.getpid())):
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap_orphans(known)
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.01)
    reap_orphans(known)
    return []


def _stat(pid: str) -> tuple[str, int] | None:
    """Return a process's state and the pid of its parent."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return fields[0], int(fields[1])
    except (OSError, IndexError, ValueError):
        return None
