"""Supervises one job of a local pool: `python -m gpuyard.training_jobs.backends.local.supervisor POOL_DIR JOB`.

Starts one launch per node, copies their output into per-node logs, keeps the time limit, grades the end,
gives the nodes back and starts the next job. When it is killed, the kernel kills the nodes with it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from ...state import Outcome, Reason, State, classify
from .files import read_json, write_json
from .pool import Pool
from .process import MARK, die_with_parent, sweep

_TICK_S = 0.05


@dataclass
class _Node:
    index: int
    process: subprocess.Popen[bytes]
    pump: threading.Thread
    ended: bool = False


@dataclass
class _Verdict:
    """Why the supervisor itself ends the job; None while it has no reason to."""

    outcome: Outcome | None = None
    detail: str | None = None


@dataclass
class _Supervisor:
    pool: Pool
    name: str
    job: dict[str, Any]
    nodes: list[_Node] = field(default_factory=list)
    order: list[int | None] = field(default_factory=list)  # exit codes of nodes that ended by themselves
    terminated: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            self._start_nodes()
            verdict = self._watch()
        except OSError as error:
            verdict = _Verdict(Outcome(State.FAILED, Reason.INFRA, None), f"the supervisor could not go on: {error}")
        left = self._kill()
        if left:  # without an end in the books the lease stays, and so do the nodes, until a later sweep gets them
            print(f"processes {left} would not die; the nodes stay taken", file=sys.stderr)
            return
        with self.pool.lock():
            outcome = verdict.outcome or classify(self.order)
            if (self.pool.job_dir(self.name) / "cancel").exists() and outcome.state is not State.SUCCEEDED:
                outcome = Outcome(State.CANCELLED, None, outcome.exit_code)
            self.pool._end(
                self.name,
                self.job,
                state=outcome.state,
                reason=outcome.reason,
                exit_code=outcome.exit_code,
                detail=verdict.detail,
            )
            self.pool._dispatch()

    def _start_nodes(self) -> None:
        by_index = {node["index"]: node for node in self.pool.nodes()}
        nodes = [by_index[index] for index in self.job["assigned"]]
        port = _free_port(nodes[0]["address"])
        for rank, node in enumerate(nodes):
            process = subprocess.Popen(
                [sys.executable, "-u", "-c", self.job["bootstrap"]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._node_environment(rank, nodes, port),
                cwd=self._work_dir(rank),
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
            log = self.pool.job_dir(self.name) / f"node-{rank}.log"
            pump = threading.Thread(target=_pump, args=(process.stdout, log), daemon=True)
            self.nodes.append(_Node(node["index"], process, pump))
        for started in self.nodes:
            started.pump.start()

    def _node_environment(self, rank: int, nodes: Sequence[Mapping[str, Any]], port: int) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        node = nodes[rank]
        visible = ",".join(map(str, node["gpus"]))  # by PCI bus, as nvidia-smi counts; CUDA's own order is by speed
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

    def _watch(self) -> _Verdict:
        """Wait for the nodes. Returns a verdict where the end was not theirs."""
        limit = self.job["started_at"] + self.job["limit_s"]
        cancel = self.pool.job_dir(self.name) / "cancel"
        failed_at: float | None = None
        while any(not node.ended for node in self.nodes):
            for node in self.nodes:
                code = node.process.poll()
                if code is not None and not node.ended:
                    node.ended = True
                    self.order.append(code if code >= 0 else None)
                    failed_at = failed_at or (time.monotonic() if code else None)
            if cancel.exists():
                return _Verdict(self._stop(Outcome(State.CANCELLED, None, None)))
            if self.terminated.is_set():
                return _Verdict(self._stop(Outcome(State.STOPPED, Reason.PREEMPTED, None)), "the machine is going down")
            if time.time() > limit:
                reason = Reason(self.job["limit_reason"])
                return _Verdict(self._stop(Outcome(State.FAILED, reason, None)), f"{reason} after {self.job['limit_s']} s")
            # After one node failed the others get half the grace to end by themselves.
            if failed_at is not None and time.monotonic() - failed_at > self.job["grace_s"] / 2:
                return _Verdict()
            time.sleep(_TICK_S)
        return _Verdict()

    def _stop(self, outcome: Outcome) -> Outcome:
        """Ask every node to end, with its grace. A job that was done all the same is done."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self.job["grace_s"]
        while time.monotonic() < deadline and any(node.process.poll() is None for node in self.nodes):
            time.sleep(_TICK_S)
        codes = [node.process.poll() for node in self.nodes]
        if all(code == 0 for code in codes):
            return Outcome(State.SUCCEEDED, None, 0)
        return outcome

    def _kill(self) -> list[int]:
        """Nothing of the job stays: nodes, workers, and whatever those started. Returns what would not go."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.kill()
        left = sweep(self.pool.lease_path(self.job["run_id"]))
        for node in self.nodes:
            if not left:
                node.process.wait()
            node.pump.join(timeout=5)
        return left


def _pump(stream: IO[bytes], log: Path) -> None:
    """Copy a node's output into its log, with the time in front of every line; go on reading when it cannot write."""
    file = log.open("ab", buffering=0)
    for line in stream:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            file.write(f"{now} ".encode() + line.rstrip(b"\n") + b"\n")
        except OSError:
            continue  # a full disk must not block the job's own writes
    file.close()


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def main(pool_dir: str, name: str) -> None:
    """Take over the job that this process was given a lease for; without the lease do nothing."""
    pool = Pool(Path(pool_dir))
    supervisor_gone = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: supervisor_gone.set())
    with pool.lock():
        job = pool.job(name)
        lease = read_json(Path(os.environ[MARK]))
        if job is None or job.get("ended_at") or lease is None or lease["pid"] != os.getpid() or lease["job"] != name:
            return
        job |= {"state": "RUNNING", "started_at": time.time(), "assigned": lease["nodes"]}
        write_json(pool.job_dir(name) / "job.json", job)
    _Supervisor(pool, name, job, terminated=supervisor_gone).run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
