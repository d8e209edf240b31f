"""The first line of a node's log of each attempt (host, address, ranks, GPUs), and the last line, which states how the node ended."""

from __future__ import annotations

import os
import socket
from collections import Counter

from .hook import DONE, RESUMABLE
from .preflight.nvidia import GpuRow, list_gpus
from .run_record import Job
from .topology import NodePlacement

__all__ = ["describe_node", "end_line"]


def describe_node(placement: NodePlacement, job: Job, attempt: int) -> str:
    """Return the description of this node. Ranks and nodes count from 0, as in torchrun."""
    parts = [f"host {socket.gethostname()} ({placement.address})", _ranks(placement, job), _gpus(list_gpus())]
    return f"attempt {attempt}: node {placement.rank} of {placement.nodes} on {', '.join(filter(None, parts))}"


def _ranks(placement: NodePlacement, job: Job) -> str:
    if job["launcher"] != "torchrun":
        return ""
    here = job["nproc_per_node"]
    first, world = placement.rank * here, placement.nodes * here
    return f"rank {first} of {world}" if here == 1 else f"ranks {first} to {first + here - 1} of {world}"


def _gpus(rows: list[GpuRow]) -> str:
    """Return the number and the names of the GPUs. GPUs that are hidden from this node do not count."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and all(word.isdecimal() for word in visible.split(",")):
        rows = [row for row in rows if str(row["index"]) in visible.split(",")]
    names = Counter(str(row["name"]) for row in rows)
    return " and ".join(f"{count} x {name}" for name, count in names.items()) or "no GPU"


def end_line(run_url: str, code: int) -> str:
    """Return the last line of a node's log, by which alerts find failed and stopped jobs (components/gcp/notify.py).

    >>> end_line("gs://runs/gpuyard/runs/llm-1", 75)
    'gpuyard: gs://runs/gpuyard/runs/llm-1 stopped with exit code 75'
    """
    state = {DONE: "succeeded", RESUMABLE: "stopped"}.get(code, "failed")
    return f"gpuyard: {run_url} {state} with exit code {code}"
