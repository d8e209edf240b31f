"""Leases of a local pool: which running jobs use which nodes (docs/local-pool.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Lease", "live_leases", "process_start"]


@dataclass(frozen=True)
class Lease:
    """The nodes that a run uses, and the process that supervises the run."""

    run_id: str
    pid: int
    started: str
    nodes: tuple[int, ...]


def live_leases(pool_dir: Path) -> list[Lease]:
    """Return the leases whose process is alive, ordered by run id. Raises ValueError for an unreadable lease file."""
    files = sorted((pool_dir / "leases").glob("*.json"))
    return [lease for lease in map(_read, files) if process_start(lease.pid) == lease.started]


def process_start(pid: int) -> str | None:
    """Return the start time of a process, as leases record it. None: the process does not exist or is a zombie."""
    return _linux_start(pid) if sys.platform == "linux" else _ps_start(pid)


def _read(file: Path) -> Lease:
    try:
        data = json.loads(file.read_text())
        return Lease(data["run_id"], int(data["pid"]), data["started"], tuple(map(int, data["nodes"])))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{file}: the lease cannot be read ({error}); remove the file if no job runs on this pool") from None


def _linux_start(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()  # the command name before ")" may contain spaces
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if state in {"Z", "X"} else f"{boot}/{rest[18]}"


def _ps_start(pid: int) -> str | None:
    found = subprocess.run(["/bin/ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = found.stdout.strip().partition(" ")
    return None if not state or state[0] in {"Z", "X"} else started.strip()
