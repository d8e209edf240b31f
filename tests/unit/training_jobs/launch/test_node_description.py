"""The line with which a node's log begins: host, address, ranks and GPUs."""

from __future__ import annotations

import socket
from typing import cast

import pytest

from gpuyard.training_jobs.launch import node_description
from gpuyard.training_jobs.launch.node_description import describe_node
from gpuyard.training_jobs.launch.run_record import Job
from gpuyard.training_jobs.launch.topology import NodePlacement

NODE = NodePlacement(1, 2, "10.0.0.1", "10.0.0.2", 29400, None)


@pytest.mark.parametrize(
    ("launcher", "processes", "ranks"),
    [("torchrun", 4, ", ranks 4 to 7 of 8"), ("torchrun", 1, ", rank 1 of 2"), ("none", 1, "")],
)
def test_a_node_names_itself_its_ranks_and_its_gpus(monkeypatch: pytest.MonkeyPatch, launcher: str, processes: int, ranks: str) -> None:
    monkeypatch.setattr(node_description, "list_gpus", lambda: [{"index": index, "name": "NVIDIA L4"} for index in range(4)])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    job = cast("Job", {"launcher": launcher, "nproc_per_node": processes})
    begin = f"attempt 3: node 1 of 2 on host {socket.gethostname()} (10.0.0.2){ranks}"
    assert describe_node(NODE, job, 3) == f"{begin}, 4 x NVIDIA L4"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert describe_node(NODE, job, 3) == f"{begin}, 2 x NVIDIA L4"
    monkeypatch.setattr(node_description, "list_gpus", list)
    assert describe_node(NODE, job, 3) == f"{begin}, no GPU"
