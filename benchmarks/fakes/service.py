"""Fake of a job service for benchmarks: it starts the nodes of one run as processes, through the real bootstrap, and restarts lost ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from gpuyard.training_jobs.packaging import pack
from gpuyard.training_jobs.run import digest

_BOOTSTRAP = Path(__file__).resolve().parents[2] / "training_jobs/launch/bootstrap.py"


def free_port(address: str) -> int:
    """Return a port that is free at this moment."""
    with socket.create_server((address, 0)) as probe:
        return int(probe.getsockname()[1])


class NodeService:
    """One submission of a job on two nodes of one process each, on 127.0.0.1."""

    def __init__(self, folder: Path, code: Path, command: Sequence[str]) -> None:
        job = {
            "name": "bench", "command": list(command), "setup": None, "launcher": "torchrun", "nodes": 2, "nproc_per_node": 1, "env": {},
            "secrets": {}, "data": {}, "checkpoint": {"every_s": 600, "keep": 3}, "max_restarts": 3, "preflight": "skip", "fabric": None,
        }  # fmt: skip
        package = pack(code, command)
        self._folder, self._run, self._port = folder, folder / "bucket/gpuyard/runs/bench-1", free_port("127.0.0.1")
        self._record = folder / "bucket/gpuyard/submissions/bench-1/run.json"
        self._archive = folder / f"bucket/gpuyard/code/{package.sha256}.tar.gz"
        submission = {"attempt": 1, "job": job}
        self._job_digest = digest(submission)
        for file, data in (
            (self._record, json.dumps({"submissions": [submission]}).encode()),
            (self._archive, package.data),
        ):
            file.parent.mkdir(parents=True)
            file.write_bytes(data)

    def start(self, node: int) -> subprocess.Popen[bytes]:
        """Start a node. Also restarts it after it was killed."""
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self._folder), "GPUYARD_SERVICE": "local", "GPUYARD_RUN_ID": "bench-1",
            "GPUYARD_RUN_URL": self._run.as_uri(), "GPUYARD_RECORD_URL": self._record.as_uri(),
            "GPUYARD_CODE_URL": self._archive.as_uri(), "GPUYARD_SUBMISSION": "0", "GPUYARD_JOB_DIGEST": self._job_digest,
            "GPUYARD_NODE_RANK": str(node), "GPUYARD_NUM_NODES": "2", "GPUYARD_MAIN_ADDRESS": "127.0.0.1",
            "GPUYARD_NODE_ADDRESS": "127.0.0.1", "GPUYARD_PORT": str(self._port), "GPUYARD_GRACE_S": "30", "GPUYARD_RETURN_S": "60",
            "GPUYARD_WORKDIR": str(self._folder / f"node-{node}"),
        }  # fmt: skip
        with (self._folder / f"node-{node}.log").open("ab") as log:
            argv = [sys.executable, "-c", _BOOTSTRAP.read_text()]
            return subprocess.Popen(argv, env=env, stdout=log, stderr=log, start_new_session=True)

    def processes(self) -> list[int]:
        """Return the process ids of the run: those with its URL in their environment, zombies excluded."""
        return [process.pid for process in psutil.process_iter() if self._is_of_run(process)]

    def _is_of_run(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("GPUYARD_RUN_URL") == self._run.as_uri() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False
