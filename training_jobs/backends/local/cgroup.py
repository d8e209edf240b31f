"""Put each job of a local pool into a control group, where this user may create one (Linux, cgroup v2).

The group contains every process of the job, even if the process has detached itself or the supervisor was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

__all__ = ["enter_cgroup", "kill_cgroup", "leave_cgroup"]

_PREFIX = "gpuyard-"
_REMOVE_TIMEOUT_S = 2.0


def enter_cgroup(job: str) -> str | None:
    """Create the control group of a job and move this process into it. Returns the group's folder; None if that is not possible."""
    own = _own_folder()
    if own is None:
        return None
    folder = own / f"{_PREFIX}{job}"
    try:
        folder.mkdir()
        (folder / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:  # this user may not create it, or the mount is read-only
        with contextlib.suppress(OSError):
            folder.rmdir()
        return None
    return str(folder)


def leave_cgroup(folder: str | None) -> None:
    """Move this process out of its job's group, and remove the group."""
    if folder is not None:
        with contextlib.suppress(OSError):
            (Path(folder).parent / "cgroup.procs").write_text(str(os.getpid()))
            _remove(folder, time.monotonic() + _REMOVE_TIMEOUT_S)


def kill_cgroup(folder: str | None, job: str, timeout_s: float = 10.0) -> list[int]:
    """Kill all processes of a job's group except this process. Remove the group if it is empty. Returns the pids still alive."""
    if folder is None or Path(folder).name != f"{_PREFIX}{job}" or not _is_mounted(Path(folder)):
        return []  # a job can change job.json, so a folder with another name is ignored
    deadline = time.monotonic() + timeout_s
    while members := _members(Path(folder)):
        alive = [pid for pid in members if pid != os.getpid()]
        if not alive:
            return []  # the group is removed when this process leaves it
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.02)
    _remove(folder, deadline)
    return []


def _remove(folder: str, deadline: float) -> None:
    """Remove an empty group. It stays busy until the kernel has released its last process."""
    while os.path.isdir(folder) and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            os.rmdir(folder)
            return
        time.sleep(0.005)


def _members(folder: Path) -> list[int]:
    try:
        pids = [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []
    return [pid for pid in pids if pid]


def _own_folder() -> Path | None:
    mount = _mount_point()
    if mount is None:
        return None
    groups = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    own = next((path for number, _, path in groups if number == "0"), None)
    return None if own is None else mount / own.lstrip("/")


def _mount_point() -> Path | None:
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, kind = line.partition(" - ")
            if kind.startswith("cgroup2 "):
                return Path(fields.split()[4])
    return None


def _is_mounted(folder: Path) -> bool:
    mount = _mount_point()
    return mount is not None and ".." not in folder.parts and folder.is_relative_to(mount)
