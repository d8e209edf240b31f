"""Start the supervisor of a job as a process that outlives the command that starts it."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from pathlib import Path

from .process import MARK

__all__ = ["reap_later", "spawn_supervisor"]

_KEPT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "PYTHONDONTWRITEBYTECODE")
_SUPERVISOR = "gpuyard.training_jobs.backends.local.supervisor"
_spawned: list[subprocess.Popen[bytes]] = []


def spawn_supervisor(pool_dir: Path, job: str, lease: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the supervisor of a job. It first waits for the pool's lock. Then it exits if its pid is not in the lease."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", _SUPERVISOR, str(pool_dir), job],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**_environment(), MARK: str(lease)},
            cwd="/",
            start_new_session=True,
        )


def reap_later(process: subprocess.Popen[bytes]) -> None:
    """Remember a new supervisor. Reap supervisors that have exited, so that no zombies stay in a long-lived process."""
    _spawned[:] = [each for each in (*_spawned, process) if each.poll() is None]


@atexit.register
def _detach() -> None:
    """Suppress Python's warning about child processes that still run: supervisors outlive this process on purpose."""
    for process in _spawned:
        process.returncode = process.poll() or 0


def _environment() -> dict[str, str]:
    """Return the environment of a job: the machine's own variables, without the submitter's credentials."""
    root = str(Path(__file__).parents[4])
    return {"PYTHONPATH": root, **{name: os.environ[name] for name in _KEPT if name in os.environ}}
