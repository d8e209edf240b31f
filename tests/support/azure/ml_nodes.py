"""The nodes of one job as processes on addresses of their own, their output in the job's files, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ml_jobs import Cluster, Job

from training_jobs.launch.meeting import free_port


class Nodes:
    """The command on each node, handed to a shell as Azure ML does it, started together."""

    def __init__(self, fake: Cluster, job: Job, turn: int) -> None:
        self._fake, self._job = fake, job
        number = list(fake.jobs).index(job.name)
        addresses = [f"127.{100 + os.getpid() % 100}.{number % 250}.{100 + node}" for node in range(job.nodes)]
        if sys.platform != "linux":
            addresses = ["127.0.0.1"] * job.nodes
        port = str(free_port(addresses[0]))
        self.failed: int | None = None  # the code of the node that failed first
        self._pumps: list[threading.Thread] = []
        self._processes = []
        for node, address in enumerate(addresses):
            placed = {
                "AZUREML_NODE_COUNT": str(job.nodes), "NODE_RANK": str(node), "MASTER_ADDR": addresses[0], "MASTER_PORT": "6105",
                "WORLD_SIZE": str(job.nodes), "RANK": str(node), "LOCAL_RANK": "0",
            }  # fmt: skip
            self._processes.append(self._start(turn, node, {**placed, "GPUYARD_PORT": port, "GPUYARD_NODE_ADDRESS": address}))

    @property
    def ended(self) -> bool:
        """Whether every node is done, or one has failed: then the job is over."""
        codes = [process.poll() for process in self._processes]
        failed = next((code for code in codes if code), None)
        if failed is not None and self.failed is None:
            self.failed = failed if failed > 0 else 128 - failed
        return self.failed is not None or all(code is not None for code in codes)

    def end(self, grace_s: float) -> None:
        """SIGTERM to what is left, SIGKILL after the grace."""
        for process in self._processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(process.poll() is None for process in self._processes):
            time.sleep(0.02)
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a container goes with all that is in it
            process.wait()
        for pump in self._pumps:
            pump.join(30)

    def _start(self, turn: int, node: int, placed: dict[str, str]) -> subprocess.Popen[bytes]:
        folder = self._fake.folder / self._job.name / f"{turn}-node-{node}"
        folder.mkdir(parents=True)
        env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder), "AZUREML_RUN_ID": self._job.name,
            "AZUREML_CR_NODE_RANK": str(node), "PYTHONDONTWRITEBYTECODE": "1", **self._fake.environment,
            **self._job.properties.get("environmentVariables", {}), **placed,
        }  # fmt: skip
        process = subprocess.Popen(
            ["/bin/bash", "-c", self._job.properties["command"]], env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        name = f"user_logs/std_log_process_{node}.txt" if self._job.nodes > 1 else "user_logs/std_log.txt"
        file = self._job.files.setdefault(name, bytearray())
        pump = threading.Thread(target=_pump, args=(process, file), daemon=True)
        pump.start()
        self._pumps.append(pump)
        return process


def _pump(process: subprocess.Popen[bytes], file: bytearray) -> None:
    assert process.stdout is not None
    with process.stdout as output:
        while block := os.read(output.fileno(), 65536):
            file += block
