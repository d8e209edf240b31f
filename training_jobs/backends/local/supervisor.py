"""Supervise one job of a local pool: `python -m gpuyard.training_jobs.backends.local.supervisor POOL_DIR JOB`.

It starts one launch per node, copies each node's output into a log, enforces the time limit, records how the job ended, frees its
nodes and starts the next job. If the supervisor is killed, the kernel kills the nodes too (Linux).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ...launch.descendants import adopt_orphans, kill_adopted, reap_orphans
from ...launch.output import OutputPump, write_all
from ...state import Outcome, Reason, State, classify
from ..base import read_bootstrap
from .cgroup import kill_cgroup, leave_cgroup
from .files import JobEntry, PoolNode
from .pool import Pool
from .process import MARK, die_with_parent, kill_marked

__all__ = ["main"]

_TICK_S = 0.05


@dataclass
class _Node:
    """One node's launch process."""

    process: subprocess.Popen[bytes]
    output: OutputPump
    exited: bool = False


class _Stopped(NamedTuple):
    """Outcome and detail if the supervisor stopped the job; both None if its nodes exited by themselves."""

    outcome: Outcome | None = None
    detail: str | None = None


@dataclass
class _Supervisor:
    pool: Pool
    name: str
    job: JobEntry
    terminated: threading.Event  # set by SIGTERM
    nodes: list[_Node] = field(default_factory=list)
    exit_codes: list[int | None] = field(default_factory=list)  # of nodes that exited by themselves, in order; None = by a signal

    def run(self) -> None:
        try:
            self._start_nodes()
            stopped = self._wait()
        except OSError as error:
            stopped = _Stopped(Outcome(State.FAILED, Reason.INFRA, None), f"the supervisor failed: {error}")
        alive = self._kill()
        if alive:  # the job is not recorded as ended: its lease keeps the nodes until a later recovery kills these processes
            print(f"processes {alive} are still alive after SIGKILL; the nodes stay allocated", file=sys.stderr)
            return
        leave_cgroup(self.job.get("cgroup"))
        self.pool.finish(self.name, self.job, stopped.outcome or classify(self.exit_codes), stopped.detail)

    def _start_nodes(self) -> None:
        by_index = {node["index"]: node for node in self.pool.nodes()}
        nodes = [by_index[index] for index in self.job["assigned"]]
        port = _free_port(nodes[0]["address"])
        for rank in range(len(nodes)):
            read_end, write_end = os.pipe()
            process = subprocess.Popen(
                [sys.executable, "-u", "-c", read_bootstrap()],
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env=self._node_environment(rank, nodes, port),
                cwd=self._work_dir(rank),
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
            os.close(write_end)
            self.nodes.append(_Node(process, OutputPump(read_end, _log_writer(self.pool.job_dir(self.name) / f"node-{rank}.log"))))

    def _node_environment(self, rank: int, nodes: Sequence[PoolNode], port: int) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        node = nodes[rank]
        visible = ",".join(map(str, node["gpus"]))  # by PCI bus, as nvidia-smi counts; CUDA's default order is by speed
        gpus = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": visible} if visible else {}
        return {
            **inherited,
            **self.job["environment"],
            **gpus,
            "GPUYARD_SERVICE": "local",
            "GPUYARD_NODE_RANK": str(rank),
            "GPUYARD_NUM_NODES": str(len(nodes)),
            "GPUYARD_MAIN_ADDRESS": nodes[0]["address"],
            "GPUYARD_NODE_ADDRESS": node["address"],
            "GPUYARD_PORT": str(port),
            "GPUYARD_WORKDIR": str(self._work_dir(rank)),
            "GPUYARD_GRACE_S": str(self.job["grace_s"]),
        }

    def _work_dir(self, rank: int) -> Path:
        directory = self.pool.job_dir(self.name) / f"node-{rank}"
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _wait(self) -> _Stopped:
        """Wait until the nodes exit. Stop them on a cancel, on SIGTERM, or at the time limit."""
        limit = time.monotonic() + self.job["limit_s"]  # monotonic: a change of the system clock must not end the job
        failed_at: float | None = None
        while any(not node.exited for node in self.nodes):
            for node in self.nodes:
                code = node.process.poll()
                if code is not None and not node.exited:
                    node.exited = True
                    self.exit_codes.append(code if code >= 0 else None)
                    failed_at = failed_at or (time.monotonic() if code else None)
            reap_orphans(self._pids())
            if self.pool.cancel_requested(self.name):
                return self._stop(Outcome(State.CANCELLED, None, None), "cancelled")
            if self.terminated.is_set():
                return self._stop(Outcome(State.STOPPED, Reason.PREEMPTED, None), "the machine is shutting down")
            if time.monotonic() > limit:
                reason = Reason(self.job["limit_reason"])
                return self._stop(Outcome(State.FAILED, reason, None), f"{reason} after {self.job['limit_s']} s")
            # After one node failed the others get half the grace period to exit by themselves.
            if failed_at is not None and time.monotonic() - failed_at > self.job["grace_s"] / 2:
                return _Stopped()
            time.sleep(_TICK_S)
        return _Stopped()

    def _stop(self, outcome: Outcome, cause: str) -> _Stopped:
        """Send SIGTERM to every node and wait for the grace period. If every node still exits with 0, the job has succeeded."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self.job["grace_s"]
        while time.monotonic() < deadline and any(node.process.poll() is None for node in self.nodes):
            time.sleep(_TICK_S)
        if all(node.process.poll() == 0 for node in self.nodes):
            return _Stopped(Outcome(State.SUCCEEDED, None, 0), cause)
        late = [str(rank) for rank, node in enumerate(self.nodes) if node.process.poll() is None]
        how = (
            f"node(s) {', '.join(late)} did not exit within {self.job['grace_s']} s and were killed" if late else "the nodes exited in time"
        )
        return _Stopped(outcome, f"{cause}: {how}")

    def _pids(self) -> list[int]:
        return [node.process.pid for node in self.nodes]

    def _kill(self) -> list[int]:
        """Kill all processes of the job: nodes, workers and their children. Returns the pids that are still alive."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.kill()
        alive = kill_marked(self.pool.lease_path(self.job["run_id"])) or kill_adopted(self._pids())
        alive = alive or kill_cgroup(self.job.get("cgroup"), self.name)
        for node in self.nodes:
            if not alive:
                node.process.wait()
            node.output.drain()
        return alive


def _log_writer(log: Path) -> Callable[[list[bytes]], None]:
    """Return a function that appends lines to a node's log. Each line begins with the time."""
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(lines: list[bytes]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
        write_all(fd, b"".join(now + b" " + line + b"\n" for line in lines))

    return write


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def main(pool_dir: str, name: str) -> None:
    """Run the job if its lease names this process; else do nothing."""
    pool, terminated = Pool(Path(pool_dir)), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    adopt_orphans()
    job = pool.claim(name, Path(os.environ[MARK]))
    if job is not None:
        _Supervisor(pool, name, job, terminated).run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
