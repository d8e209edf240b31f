"""The local machine's GPUs: found with nvidia-smi, named as jobs name them, divided evenly over the nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.local import network
from gpuyard.components.local.gpu_pool import plan_pool
from gpuyard.components.local.gpus import find_gpus, parse_listing, short_model
from gpuyard.components.spec import GpuPoolSpec


@given(st.integers(1, 12), st.integers(0, 16), st.sampled_from(["auto", "cpu"]))
def test_gpus_are_divided_evenly_over_the_nodes(nodes: int, found: int, machine: str) -> None:
    spec = GpuPoolSpec.model_validate({"max_nodes": nodes, "service": "local", "machine": machine})
    plan = plan_pool("p", spec, ["H100"] * found, network.plan_addresses("127.77.0.0/24", nodes))
    assigned = [gpu for node in plan["nodes"] for gpu in node["gpus"]]
    share = found // nodes if machine == "auto" else 0
    assert assigned == list(range(share * nodes))
    assert {node["slots"] for node in plan["nodes"]} == {share or 2}
    assert plan["accelerator"] == ("H100" if share else None)


def test_gpus_of_two_models_get_a_joint_name() -> None:
    spec = GpuPoolSpec(max_nodes=1, service="local")
    assert plan_pool("p", spec, ["H100", "A100"], ["127.0.0.1"])["accelerator"] == "A100+H100"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GB200", "GB200"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("NVIDIA RTX A6000", "RTX-A6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("Something New", "Something-New"),
    ],
)
def test_short_models(name: str, short: str) -> None:
    assert short_model(name) == short


def test_models_are_ordered_by_index() -> None:
    assert parse_listing("1, NVIDIA H100 80GB HBM3\n0, NVIDIA A100-SXM4-80GB\n") == ("A100", "H100")
    assert parse_listing("") == ()
    for torn in ("No devices were found", "0, NVIDIA H100\n2, NVIDIA H100"):
        with pytest.raises(ValueError, match=r"."):
            parse_listing(torn)


@pytest.mark.parametrize(
    ("script", "models", "problem"),
    [
        ("echo '0, NVIDIA H200'", ("H200",), None),
        ("echo 'NVIDIA-SMI has failed'; exit 9", (), "nvidia-smi failed, so no GPU is used"),
        ("echo nonsense", (), "nvidia-smi failed, so no GPU is used"),
        (None, (), None),
    ],
)
def test_gpus_are_found_with_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, models: tuple[str, ...], problem: str | None
) -> None:
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_gpus.__wrapped__()
    assert found.models == models
    assert (found.problem or "").startswith(problem or "")
    assert bool(found.problem) == bool(problem)
