"""Remove the locks that a killed `pulumi` left on the local stack. A lock of a running process is kept."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Lock", "StackBusyError", "is_alive", "locks", "recover"]

_LOCKS = Path(".yard/state/.pulumi/locks/organization/gpuyard")


class StackBusyError(Exception):
    """Another `pulumi` uses the stack. The message names it."""


@dataclass(frozen=True)
class Lock:
    """A lock file of the engine."""

    pid: int
    host: str
    since: str


def locks(root: Path, stack: str) -> Iterator[Lock]:
    """Yield the locks on this stack."""
    for path in sorted((root / _LOCKS / stack).glob("*.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            yield Lock(int(found["pid"]), str(found["hostname"]), str(found["timestamp"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # removed in the meantime, or incomplete: the engine reports it


def is_alive(lock: Lock) -> bool:
    """Return whether the engine that made this lock still runs. A lock of another host counts as alive, because it cannot be checked."""
    if lock.host != socket.gethostname():
        return True
    ran = subprocess.run(["ps", "-o", "stat=,command=", "-p", str(lock.pid)], capture_output=True, text=True, check=False)
    stat, _, command = ran.stdout.strip().partition(" ")
    return bool(stat) and not stat.startswith("Z") and "pulumi" in command  # else another process has this pid now


def recover(root: Path, stack: str, env: Mapping[str, str]) -> bool:
    """Remove locks of dead processes. Return whether there were any. Raises StackBusyError for a running one."""
    found = list(locks(root, stack))
    for lock in found:
        if is_alive(lock):
            raise StackBusyError(
                f"another pulumi process has locked stack '{stack}' (pid {lock.pid} on {lock.host}, since {lock.since}).\n"
                f'fix: wait for it, or stop it; if you are sure that it is dead: eval "$(make -s env)"; pulumi cancel --stack {stack}'
            )
    if not found:
        return False
    for arguments in (
        ["cancel", "--yes"],
        # the engine warns about an interrupted create at every run until a refresh clears it
        ["refresh", "--yes", "--skip-preview", "--clear-pending-creates"],
    ):
        subprocess.run(["pulumi", *arguments, "--stack", stack, "--non-interactive"], cwd=root, env=env, capture_output=True, check=False)
    return True
