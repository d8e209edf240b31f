"""What the workers of a node see in their environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import secrets
from .topology import Place

_HOME = Path(__file__).absolute().parents[3]
_OF_THE_NODE = {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"}
"""What a service counts in nodes and torchrun in processes: a script that is no worker of torchrun's must not take one for the other."""


def workers_environment(
    where: Place, job: dict[str, Any], attempt: int, run_url: str, stop_file: Path, report_file: Path
) -> dict[str, str]:
    """This process's environment and the job's. A job's own variables cannot replace gpuyard's."""
    asked = {**{name: value for name, value in os.environ.items() if name not in _OF_THE_NODE}, **job["env"]}
    own = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_HOME), asked.get("PYTHONPATH")])),
        "GPUYARD_NODE_RANK": str(where.rank),
        "GPUYARD_NUM_NODES": str(where.nodes),
        "GPUYARD_MAIN_ADDRESS": where.main_address,
        "GPUYARD_ATTEMPT": str(attempt),
        "GPUYARD_OUTPUT_URL": f"{run_url}/output",
        "GPUYARD_CHECKPOINT_URL": f"{run_url}/checkpoints",
        "GPUYARD_CHECKPOINT_EVERY_S": str(job["checkpoint"]["every_s"]),
        "GPUYARD_CHECKPOINT_KEEP": str(job["checkpoint"]["keep"]),
        "GPUYARD_STOP_FILE": str(stop_file),
        "GPUYARD_REPORT_FILE": str(report_file),
        **{f"GPUYARD_DATA_{name.upper().replace('-', '_')}": url for name, url in job["data"].items()},
    }
    default = {"PYTHONUNBUFFERED": "1"}
    if where.interface:
        default |= {"GLOO_SOCKET_IFNAME": where.interface, "NCCL_SOCKET_IFNAME": where.interface}
    if job["launcher"] == "torchrun" and job["nproc_per_node"] > 1:
        default["OMP_NUM_THREADS"] = "1"  # as torchrun does: ranks share the cores
    kept = {name: value for name, value in os.environ.items() if name.startswith("GPUYARD_")}
    return {**default, **asked, **secrets.resolve(job["secrets"]), **kept, **own}
