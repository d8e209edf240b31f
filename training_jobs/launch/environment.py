"""Builds the environment variables of a node's workers."""

from __future__ import annotations

import os
from pathlib import Path

from . import secrets
from .data_copy import copied_path
from .gib import gib_settings
from .run_record import Job
from .topology import NodePlacement
from .variables import data_variable

__all__ = ["worker_environment"]

_IMPORT_ROOT = Path(__file__).absolute().parents[3]
_NODE_COUNTS = {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"}
"""Variables that torchrun sets for each process. Some services set them for each node; those values are removed."""


def worker_environment(
    placement: NodePlacement, job: Job, attempt: int, run_url: str, stop_file: Path, report_file: Path, data_folder: Path
) -> dict[str, str]:
    """Merge this process's environment, the job's `env` and secrets, and gpuyard's variables. gpuyard's variables override all others.

    `data_folder`: where this node copies the entries of `data` with `mount: copy`.
    """
    copied = {name: str(copied_path(data_folder, name, job["data"][name])) for name in job.get("copied_data", [])}
    inherited = {**{name: value for name, value in os.environ.items() if name not in _NODE_COUNTS}, **job["env"]}
    own = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_IMPORT_ROOT), inherited.get("PYTHONPATH")])),
        "GPUYARD_NODE_RANK": str(placement.rank),
        "GPUYARD_NUM_NODES": str(placement.nodes),
        "GPUYARD_MAIN_ADDRESS": placement.main_address,
        "GPUYARD_ATTEMPT": str(attempt),
        "GPUYARD_OUTPUT_URL": f"{run_url}/output",
        "GPUYARD_CHECKPOINT_URL": f"{run_url}/checkpoints",
        "GPUYARD_CHECKPOINT_EVERY_S": str(job["checkpoint"]["every_s"]),
        "GPUYARD_CHECKPOINT_KEEP": str(job["checkpoint"]["keep"]),
        "GPUYARD_STOP_FILE": str(stop_file),
        "GPUYARD_REPORT_FILE": str(report_file),
        **{data_variable(name): url for name, url in {**job["data"], **copied}.items()},
    }
    fabric = job["fabric"]
    defaults = {"PYTHONUNBUFFERED": "1", **gib_settings(fabric["transport"] if fabric else None)}
    if placement.interface:
        defaults |= {"GLOO_SOCKET_IFNAME": placement.interface, "NCCL_SOCKET_IFNAME": placement.interface}
    if job["launcher"] == "torchrun" and job["nproc_per_node"] > 1:
        defaults["OMP_NUM_THREADS"] = "1"  # as torchrun sets it: ranks share the cores
    platform = {name: value for name, value in os.environ.items() if name.startswith("GPUYARD_")}
    return {**defaults, **inherited, **secrets.resolve(job["secrets"]), **platform, **own}
