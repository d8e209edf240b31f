"""The nodes of one fake Azure ML job: processes on addresses of their own, with their output in the job's log files."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from tests.fakes.containers import EqualContainers, addresses
from tests.helpers.ports import free_port

if TYPE_CHECKING:
    from tests.fakes.azure.azureml_jobs import Cluster, Job


class Nodes(EqualContainers):
    """The command on each node, run by a shell as Azure ML does, all started together."""

    def __init__(self, fake: Cluster, job: Job, turn: int) -> None:
        super().__init__()
        found = addresses(job.nodes, list(fake.jobs).index(job.name))
        port = str(free_port(found[0]))
        for node, address in enumerate(found):
            placed = {
                "AZUREML_NODE_COUNT": str(job.nodes), "NODE_RANK": str(node), "MASTER_ADDR": found[0], "MASTER_PORT": "6105",
                "WORLD_SIZE": str(job.nodes), "RANK": str(node), "LOCAL_RANK": "0", "AZUREML_RUN_ID": job.name,
                "AZUREML_CR_NODE_RANK": str(node), "GPUYARD_PORT": port, "GPUYARD_NODE_ADDRESS": address,
            }  # fmt: skip
            env = {**fake.environment, **job.properties.get("environmentVariables", {}), **placed}
            name = f"user_logs/std_log_process_{node}.txt" if job.nodes > 1 else "user_logs/std_log.txt"
            file = job.files.setdefault(name, bytearray())
            folder = fake.folder / job.name / f"{turn}-node-{node}"
            self.start(["/bin/bash", "-c", job.properties["command"]], env, folder, functools.partial(_append, file))

    def warn(self, process: subprocess.Popen[bytes]) -> None:
        """Signal the process group, because the shell passes no signal on."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def _append(file: bytearray, line: str) -> None:
    file.extend(f"{line}\n".encode())
