"""Starts the nodes of one run as processes through the real bootstrap, as a backend does, without queue or supervisor."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from gpuyard.training_jobs.run import digest
from tests.helpers.ports import free_port
from tests.helpers.waiting import wait_for

_T = TypeVar("_T")
CHECKOUT = Path(__file__).resolve().parents[2]
SHIM = 'import sys\n\nfrom gpuyard.training_jobs.launch import hook\n\nsys.modules["gpuyard_hook"] = hook\n'
JOB: dict[str, Any] = {
    "name": "test", "command": ["train.py"], "setup": None, "launcher": "torchrun", "nodes": 2, "nproc_per_node": 2, "env": {},
    "secrets": {}, "data": {}, "checkpoint": {"every_s": 600, "keep": 3}, "max_restarts": 0, "preflight": "skip", "fabric": None,
}  # fmt: skip


@dataclass
class NodeProcesses:
    """One run in a folder: its code, its job, its submissions."""

    folder: Path
    job: Mapping[str, Any]
    code: Mapping[str, str] = field(default_factory=dict)
    submissions: int = 0
    node_env: Mapping[int, Mapping[str, str]] = field(default_factory=dict)  # node -> further variables that its service sets
    _job_digest: str = ""
    _submission: tuple[int, str, int, float] = (0, "", 0, 0.0)  # of the newest submission: nodes, code, port, grace

    @property
    def run(self) -> Path:
        """The run's folder in the run bucket."""
        return self.folder / "bucket/gpuyard/runs/test-1"

    @property
    def record(self) -> Path:
        """The file of the run's record."""
        return self.folder / "bucket/gpuyard/submissions/test-1/run.json"

    def output(self, attempt: int, name: str) -> Any:
        """Return a JSON document that launch wrote into an attempt's output."""
        return json.loads((self.run / f"output/attempt-{attempt}" / name).read_bytes())

    def log(self, node: int) -> str:
        """Return the output of a node of the newest submission."""
        return (self.folder / f"{self.submissions - 1}-{node}.log").read_text()

    def until(self, condition: Callable[[], _T | None]) -> _T:
        """Wait for a document of the nodes, which may be missing or incomplete at first. A failure shows node 0's log."""
        return wait_for(condition, lambda: self.log(0), ignored=(FileNotFoundError, json.JSONDecodeError, KeyError))

    def submit(self, grace_s: float = 30, **changes: Any) -> list[subprocess.Popen[bytes]]:
        """Start the nodes of a new submission."""
        self.submissions += 1
        job = {**JOB, **self.job, **changes}
        self.run.mkdir(parents=True, exist_ok=True)
        record = {"submissions": [{"attempt": 1, "job": job}] * self.submissions}
        self._job_digest = digest(record["submissions"][-1])
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.record.write_text(json.dumps(record))
        self._submission = job["nodes"], self._pack(), free_port(_address(0)), grace_s
        return [self.start(node) for node in range(job["nodes"])]

    def processes(self) -> list[int]:
        """Return the live processes of the run: those with its URL in their environment, zombies excluded."""
        return [process.pid for process in psutil.process_iter() if self._belongs_to_run(process)]

    def listening(self) -> bool:
        """Return whether the rendezvous port of node 0 is in use."""
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((_address(0), self._submission[2])) == 0

    def _belongs_to_run(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("GPUYARD_RUN_URL") == self.run.as_uri() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def _pack(self) -> str:
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w:gz") as tar:
            own = {".gpuyard/gpuyard_hook.py": SHIM, ".gpuyard/gpuyard/__init__.py": ""}
            for name, text in {**{f"code/{name}": text for name, text in self.code.items()}, **own}.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
            for path in ("__init__.py", "launch", "train"):
                tar.add(CHECKOUT / "training_jobs" / path, f".gpuyard/gpuyard/training_jobs/{path}")
        target = self.folder / "bucket/gpuyard/code" / f"{hashlib.sha256(raw.getvalue()).hexdigest()}.tar.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(raw.getvalue())
        return target.as_uri()

    def start(self, node: int) -> subprocess.Popen[bytes]:
        """Start a node of the newest submission. Also restarts a lost one."""
        nodes, code_url, port, grace_s = self._submission
        work = self.folder / f"{self.submissions - 1}-{node}"
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "GPUYARD_SERVICE": "local", "GPUYARD_RUN_ID": "test-1",
            "GPUYARD_RUN_URL": self.run.as_uri(), "GPUYARD_RECORD_URL": self.record.as_uri(),
            "GPUYARD_CODE_URL": code_url, "GPUYARD_JOB_DIGEST": self._job_digest,
            "GPUYARD_SUBMISSION": str(self.submissions - 1),
            "GPUYARD_NODE_RANK": str(node), "GPUYARD_NUM_NODES": str(nodes), "GPUYARD_MAIN_ADDRESS": _address(0),
            "GPUYARD_NODE_ADDRESS": _address(node), "GPUYARD_PORT": str(port), "GPUYARD_GRACE_S": str(grace_s),
            "GPUYARD_WORKDIR": str(work), "GPUYARD_CHANNEL_SECRET": f"secret of submission {self.submissions}",
            **self.node_env.get(node, {}),
        }  # fmt: skip
        bootstrap = (CHECKOUT / "training_jobs/launch/bootstrap.py").read_text()
        with open(work.with_suffix(".log"), "ab") as log:
            return subprocess.Popen([sys.executable, "-c", bootstrap], env=env, stdout=log, stderr=log, start_new_session=True)


def finish(nodes: list[subprocess.Popen[bytes]], timeout_s: float = 120) -> list[int]:
    """Return the exit codes of all nodes. On a timeout, fail with a list of the live processes, and kill them."""
    deadline = time.monotonic() + timeout_s
    try:
        return [node.wait(max(0.1, deadline - time.monotonic())) for node in nodes]
    except subprocess.TimeoutExpired:
        alive = [line for node in nodes if node.poll() is None for line in _tree(psutil.Process(node.pid))]
        raise AssertionError("\n".join([f"still alive after {timeout_s:.0f} s:", *alive])) from None
    finally:
        for node in nodes:
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()


def _tree(process: psutil.Process) -> list[str]:
    """Return one line for a process and each descendant: status and the end of its command."""
    lines = []
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            lines.append(f"{each.pid} {each.status()}: {' '.join(each.cmdline()[1:])[-80:]!r}")
    return lines


def _address(node: int) -> str:
    return f"127.0.77.{10 + node}" if sys.platform == "linux" else "127.0.0.1"
