"""Reads the leases of a pool: which runs still have a living process on which nodes (docs/local-pool.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Lease:
    """A run that holds nodes of the pool, and the process that supervises it."""

    run_id: str
    pid: int
    started: str
    nodes: tuple[int, ...]


def live_leases(pool_dir: Path) -> list[Lease]:
    """The leases whose process still lives, by run id. Raises ValueError naming a file that cannot be read."""
    files = sorted((pool_dir / "leases").glob("*.json"))
    return [lease for lease in map(_read, files) if process_start(lease.pid) == lease.started]


def process_start(pid: int) -> str | None:
    """When a process started, as leases write it; None when there is none or only its zombie."""
    return _linux_start(pid) if sys.platform == "linux" else _ps_start(pid)


def _read(file: Path) -> Lease:
    try:
        data = json.loads(file.read_text())
        return Lease(data["run_id"], int(data["pid"]), data["started"], tuple(data["nodes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the lease {file} cannot be read ({error}); if no job runs here, remove that file") from None


def _linux_start(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()  # the command before ")" may hold blanks
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if state in {"Z", "X"} else f"{boot}/{rest[18]}"


def _ps_start(pid: int) -> str | None:
    found = subprocess.run(["/bin/ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = found.stdout.strip().partition(" ")
    return None if not state or state[0] in {"Z", "X"} else started.strip()
