"""Slurm's commands: sbatch, squeue, scontrol, scancel, sinfo. Only their stable text formats are used (checked with 22.05)."""

from __future__ import annotations

import math
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...problems import Problem
from ..backends.base import read_bootstrap
from ..errors import GpuyardError, LostSightError, UsageError
from ..mailbox import Ticket
from ..run_layout import logs_path

__all__ = ["JobRow", "Partition", "RefusedError", "Slurm", "SlurmCommands"]

_TIMEOUT_S = 30
_FORMAT = "%i|%j|%T|%r|%S|%e"
_NODE_START = Path(__file__).with_name("node_start.py")
# Slurm runs a batch script with a shell. The text is fixed: everything that a user wrote travels in variables.
# --wait=0, --kill-on-bad-exit=0: launch ends the other nodes itself, after they saved. --cpu-bind=none: one task uses all cores.
_SCRIPT = """#!/bin/sh
exec srun --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=0 --cpu-bind=none --output=%x.%t.out "$GPUYARD_PYTHON" -u -c "$GPUYARD_NODE_START"
"""
_NO_ANSWER = re.compile(r"(?i)unable to contact|connection|timed? ?out|temporarily|try again|communication")
_ALLOCATED = re.compile(r"alloc|mix|comp")


class RefusedError(GpuyardError):
    """sbatch refused a job. A retry does not help."""


@dataclass(frozen=True)
class JobRow:
    """A job as squeue lists it. Times are Unix times. None = the job has not started, or has not ended."""

    id: str
    name: str
    state: str
    reason: str
    started_at: float | None
    ended_at: float | None


@dataclass(frozen=True)
class Partition:
    """Numbers of the partition: usable nodes, idle ones among them, and waiting jobs of all users."""

    nodes: int
    free: int
    waiting: int


class Slurm(Protocol):
    """The calls that the head makes to Slurm. Methods raise LostSightError if Slurm does not answer."""

    def jobs(self) -> dict[str, list[JobRow]]:
        """Return this user's waiting, running and recently ended jobs. A dict: job name -> its jobs, oldest first."""

    def exit_code(self, job: str) -> int | None:
        """Return the exit code of an ended job; None if a signal ended it, or Slurm has forgotten it."""

    def submit(self, name: str, ticket: Ticket, secret: str) -> str:
        """Submit a job and return its id. `secret`: the secret of the nodes' control channel. Raises RefusedError."""

    def cancel(self, job: str) -> None:
        """Send SIGTERM to a job's processes. Slurm sends SIGKILL after its KillWait."""

    def partition(self) -> Partition:
        """Return the numbers of the partition."""


def _run(argv: Sequence[str], env: Mapping[str, str], text: str | None = None) -> str:
    """Return the output of a command. Raises LostSightError if it fails."""
    try:
        done = subprocess.run(argv, env=dict(env), input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise UsageError(f"{argv[0]} is not installed here; run `gpuyard head` on a machine with Slurm's commands") from None
    except subprocess.TimeoutExpired:
        raise LostSightError(f"{argv[0]} did not answer within {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise LostSightError(f"{argv[0]} failed: {' '.join(done.stderr.split())[:500]}")
    return done.stdout


@dataclass(frozen=True)
class SlurmCommands:
    """Runs Slurm's commands as this user, for the jobs of one partition."""

    partition_name: str
    work_dir: Path
    """Folder that all nodes share, for what a job prints before launch starts."""
    python: str = "python3"
    account: str | None = None
    qos: str | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    run: Callable[[Sequence[str], Mapping[str, str], str | None], str] = _run

    def check(self) -> None:
        """Raise UsageError if Slurm has no such partition, LostSightError if Slurm does not answer."""
        known = sorted(set(self._ask("sinfo", "--noheader", "--format=%R").split()))
        if self.partition_name not in known:
            problem = Problem("--partition", "Slurm has no such partition", self.partition_name, ", ".join(known))
            raise UsageError("the queue cannot be served", [problem])

    def jobs(self) -> dict[str, list[JobRow]]:
        """List the jobs with squeue."""
        filters = ["--states=all", "--me", f"--partition={self.partition_name}"]
        found: dict[str, list[JobRow]] = {}
        for line in self._ask("squeue", "--noheader", *filters, "--sort=i", f"--format={_FORMAT}").splitlines():
            fields = line.strip().split("|")
            if len(fields) == 6:
                job, name, state, reason, start, end = fields
                found.setdefault(name, []).append(JobRow(job, name, state, reason, _moment(start), _moment(end)))
        return found

    def exit_code(self, job: str) -> int | None:
        """Read the exit code with scontrol."""
        try:
            found = re.search(r"\bExitCode=(\d+):(\d+)", self._ask("scontrol", "show", "job", "--oneliner", job))
        except LostSightError:
            return None
        return int(found[1]) if found and found[2] == "0" else None

    def submit(self, name: str, ticket: Ticket, secret: str) -> str:
        """Submit with sbatch. If two heads submit the same job, its dependency `singleton` prevents that both run at the same time."""
        own = {"--account": self.account, "--qos": self.qos, "--gpus-per-node": ticket.gpus_per_node or None}
        argv = [
            "sbatch", "--parsable", f"--job-name={name}", f"--partition={self.partition_name}", f"--nodes={ticket.nodes}",
            "--ntasks-per-node=1", "--exclusive", "--no-requeue", "--dependency=singleton", f"--time={math.ceil(ticket.limit_s / 60) + 1}",
            f"--chdir={self.work_dir}", f"--output={name}.out", "--export=ALL",
            *(f"{option}={value}" for option, value in own.items() if value is not None),
        ]  # fmt: skip
        try:
            answer = self.run(argv, self._job_environment(name, ticket, secret), _SCRIPT)
        except LostSightError as error:
            if _NO_ANSWER.search(str(error)):
                raise
            raise RefusedError(str(error)) from None
        return answer.strip().partition(";")[0]

    def cancel(self, job: str) -> None:
        """Cancel with scancel."""
        self._ask("scancel", job)

    def partition(self) -> Partition:
        """Count nodes with sinfo and waiting jobs with squeue."""
        nodes = free = 0
        for line in self._ask("sinfo", "--noheader", f"--partition={self.partition_name}", "--format=%D|%T").splitlines():
            count, _, state = line.strip().partition("|")
            usable = state.rstrip("*~#!%$@+^-") == "idle"
            free += int(count) * usable
            nodes += int(count) * (usable or _ALLOCATED.match(state) is not None)
        waiting = self._ask("squeue", "--noheader", "--states=pending", f"--partition={self.partition_name}", "--format=%i").split()
        return Partition(nodes, free, len(waiting))

    def _ask(self, *argv: str) -> str:
        return self.run(argv, {**self.environment, "SLURM_TIME_FORMAT": "%s"}, None)  # times as Unix times

    def _grace_s(self) -> int:
        """Return the seconds that workers get after SIGTERM: Slurm's KillWait, minus a reserve of 2 s."""
        found = re.search(r"(?m)^KillWait\s*=\s*(\d+)", self._ask("scontrol", "show", "config"))
        return max(1, int(found[1] if found else 30) - 2)

    def _job_environment(self, name: str, ticket: Ticket, secret: str) -> dict[str, str]:
        inherited = {key: value for key, value in self.environment.items() if key != "PYTHONPATH" and not key.startswith("GPUYARD_")}
        run_url = ticket.environment["GPUYARD_RUN_URL"]
        bucket = run_url.removesuffix(f"/gpuyard/runs/{ticket.run_id}")
        return {
            **inherited,
            **ticket.environment,
            "GPUYARD_SERVICE": "slurm",
            "GPUYARD_GRACE_S": str(self._grace_s()),
            "GPUYARD_LOGS_URL": f"{bucket}/{logs_path(ticket.run_id, name.rpartition('.')[2])}",
            "GPUYARD_PYTHON": self.python,
            "GPUYARD_BOOTSTRAP": read_bootstrap(),
            "GPUYARD_NODE_START": _NODE_START.read_text(encoding="utf-8"),
            **({"GPUYARD_CHANNEL_SECRET": secret} if ticket.nodes > 1 else {}),
        }


def _moment(text: str) -> float | None:
    return float(text) if text.isdigit() else None
