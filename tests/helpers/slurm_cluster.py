"""A real Slurm cluster of two nodes on this machine: munged, slurmctld and two slurmd, without root's files."""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_for

__all__ = ["Cluster", "cluster", "scheduler"]

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
_CONFIG = """
ClusterName=gpuyard-tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0
ReturnToService=2
KillWait=2
MinJobAge=300
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName=gpus-[0-1] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=2
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=EXCLUSIVE
"""


@dataclass(frozen=True)
class Cluster:
    """The running cluster. Its partition is `gpu`."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which Slurm's commands reach it."""
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *argv: str) -> str:
        """Run one of Slurm's commands."""
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=True, timeout=30).stdout

    def drain(self) -> None:
        """Take both nodes out of service."""
        self.run("scontrol", "update", "NodeName=gpus-[0-1]", "State=DRAIN", "Reason=test")

    def resume(self) -> None:
        """Bring both nodes back into service. Slurm refuses this for a node that is in service."""
        resume = ["scontrol", "update", "NodeName=gpus-[0-1]", "State=RESUME"]
        subprocess.run(resume, env=self.environment, capture_output=True, check=False)

    def reset(self) -> None:
        """End all jobs and bring both nodes back."""
        for job in self.run("squeue", "--noheader", "--format=%i").split():
            subprocess.run(["scancel", "--signal=KILL", "--full", job], env=self.environment, check=False)
            subprocess.run(["scancel", job], env=self.environment, check=False)
        subprocess.run(
            ["scontrol", "update", "NodeName=gpus-[0-1]", "State=RESUME"], env=self.environment, capture_output=True, check=False
        )
        wait_for(lambda: self.run("sinfo", "--noheader", "--format=%D|%T").strip() == "2|idle", limit_s=60)


@functools.cache
def cluster() -> Cluster:
    """Start the cluster once per test process. It ends with the process. Skips the test where Slurm is not installed."""
    missing = [name for name in _PROGRAMS if _program(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} (Debian, Ubuntu: apt install slurmctld slurmd slurm-client munge)")
    folder = Path(tempfile.mkdtemp(prefix="gpuyard-slurm-"))
    started: list[subprocess.Popen[bytes]] = []
    atexit.register(_end, started, folder)
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    values: Mapping[str, object] = {
        "host": socket.gethostname().partition(".")[0],
        "ports": _free_ports(),
        "folder": folder,
        "user": _user(),
    }
    (folder / "slurm.conf").write_text(_CONFIG.format(**values))
    found = Cluster(folder)
    munge = [
        f"--key-file={key}",
        f"--socket={folder / 'munge.sock'}",
        f"--pid-file={folder / 'munge.pid'}",
        f"--seed-file={folder / 'seed'}",
    ]
    for argv in (
        ["munged", "--foreground", "--force", *munge],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D", "-N", "gpus-0"],
        ["slurmd", "-D", "-N", "gpus-1"],
    ):
        program = [str(_program(argv[0])), *argv[1:]]
        started.append(subprocess.Popen(program, env=found.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        if argv[0] == "munged":
            wait_for(lambda: (folder / "munge.sock").exists(), limit_s=20)
    wait_for(lambda: _answers(found), limit_s=60)
    return found


@contextmanager
def scheduler() -> Iterator[Cluster]:
    """Yield the cluster with two idle nodes and no job."""
    found = cluster()
    found.reset()
    try:
        yield found
    finally:
        found.reset()


def _answers(found: Cluster) -> bool:
    try:
        return found.run("sinfo", "--noheader", "--format=%D|%T").strip() == "2|idle"
    except subprocess.CalledProcessError:
        return False


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _user() -> str:
    return subprocess.run(["id", "--user", "--name"], capture_output=True, text=True, check=True).stdout.strip()


def _free_ports() -> list[int]:
    """Return three free ports in a row, for the controller and its two nodes."""
    while True:
        base = 20_000 + secrets.randbelow(10_000)
        try:
            sockets = [socket.create_server(("127.0.0.1", base + number)) for number in range(3)]
        except OSError:
            continue
        for each in sockets:
            each.close()
        return [base, base + 1, base + 2]


def _end(started: list[subprocess.Popen[bytes]], folder: Path) -> None:
    for process in reversed(started):
        process.terminate()
    deadline = time.monotonic() + 10
    for process in started:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)
