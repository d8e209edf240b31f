"""The pure parts of components: names, addresses, the division of GPUs, specs. Properties where there are any."""

from __future__ import annotations

import doctest
import re
import socket
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import gpuyard.aws
import gpuyard.components
from gpuyard.components import naming, registry
from gpuyard.components.aws import job_images
from gpuyard.components.local import gpus, network
from gpuyard.components.local.gpu_pool import plan_pool
from gpuyard.components.local.gpus import find_gpus, model, parse
from gpuyard.components.naming import NAME_LIMIT, directory_name
from gpuyard.components.spec import BucketSpec, BudgetSpec, GpuPoolSpec, LimitsSpec, NetworkSpec, PinsSpec, Spec, YardSpec, in_cloud

LEGAL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
names = st.text(min_size=1, max_size=120)


@pytest.mark.parametrize("module", [naming, network, gpus, job_images])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@given(names)
def test_directory_names_are_legal_everywhere(name: str) -> None:
    made = directory_name(name)
    assert LEGAL.fullmatch(made)
    assert len(made) <= 63
    assert directory_name(name) == made


@given(names, names)
def test_unlike_names_get_unlike_directories(one: str, other: str) -> None:
    assert one == other or directory_name(one) != directory_name(other)


@given(st.from_regex(rf"[a-z][a-z0-9]{{0,{NAME_LIMIT - 1}}}", fullmatch=True))
def test_a_legal_name_is_its_directory(name: str) -> None:
    assert directory_name(name) == name


@given(st.integers(8, 24), st.integers(1, 240))
def test_addresses_are_unlike_and_inside(prefix: int, count: int) -> None:
    cidr = str(IPv4Network((int(IPv4Address("127.77.0.0")), prefix), strict=False))
    made = network.plan_addresses(cidr, count)
    assert len(set(made)) == count
    assert all(IPv4Address(address) in IPv4Network(cidr) for address in made)
    assert made == network.plan_addresses(cidr, 240)[:count]  # growing a pool moves no node


@pytest.mark.parametrize("count", [0, 246])
def test_more_addresses_than_there_are(count: int) -> None:
    with pytest.raises(ValueError, match="has 245 addresses for nodes"):
        network.plan_addresses("127.77.0.0/24", count)


@given(st.integers(1, 12), st.integers(0, 16), st.sampled_from(["auto", "cpu"]))
def test_nodes_are_equal_and_share_no_gpu(nodes: int, found: int, machine: str) -> None:
    spec = GpuPoolSpec.model_validate({"max_nodes": nodes, "service": "local", "machine": machine})
    plan = plan_pool("p", spec, ["H100"] * found, network.plan_addresses("127.77.0.0/24", nodes))
    given_out = [gpu for node in plan["nodes"] for gpu in node["gpus"]]
    share = found // nodes if machine == "auto" else 0
    assert given_out == list(range(share * nodes))
    assert {node["slots"] for node in plan["nodes"]} == {share or 2}
    assert plan["accelerator"] == ("H100" if share else None)


def test_gpus_of_two_models_go_by_no_name_a_job_asks_for() -> None:
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
def test_gpu_models(name: str, short: str) -> None:
    assert model(name) == short


def test_gpus_come_in_the_order_of_their_indices() -> None:
    assert parse("1, NVIDIA H100 80GB HBM3\n0, NVIDIA A100-SXM4-80GB\n") == ("A100", "H100")
    assert parse("") == ()
    for torn in ("No devices were found", "0, NVIDIA H100\n2, NVIDIA H100"):
        with pytest.raises(ValueError, match=r"."):
            parse(torn)


@pytest.mark.parametrize(
    ("script", "models", "problem"),
    [
        ("echo '0, NVIDIA H200'", ("H200",), None),
        ("echo 'NVIDIA-SMI has failed'; exit 9", (), "nvidia-smi failed, so no GPU is used"),
        ("echo nonsense", (), "nvidia-smi failed, so no GPU is used"),
        (None, (), None),
    ],
)
def test_a_machine_is_asked_for_its_gpus(
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


def test_one_address_for_all_where_no_other_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __enter__(self) -> Refusing:
            return self

        def __exit__(self, *_: object) -> None: ...

        def bind(self, _address: tuple[str, int]) -> None:
            raise OSError(49, "Can't assign requested address")

    monkeypatch.setattr(socket, "socket", Refusing)
    assert network._can_bind("127.77.0.10") is False
    only = network.Network.__new__(network.Network)
    only.distinct, only.cidr = False, "127.77.0.0/24"
    assert only.addresses(3) == ["127.0.0.1"] * 3


@pytest.mark.parametrize("spec", [NetworkSpec, BucketSpec, BudgetSpec, GpuPoolSpec, LimitsSpec, PinsSpec, YardSpec])
def test_every_field_is_described_frozen_and_closed(spec: type[Spec]) -> None:
    for name, field in spec.model_fields.items():
        assert field.description, name
        assert field.is_required() or "default" in field.description, name
    assert spec.model_config["frozen"]
    assert spec.model_config["extra"] == "forbid"


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (NetworkSpec, {"cidr": "127.77.0.0/25"}),
        (NetworkSpec, {"cidr": "127.77.0.1/24"}),
        (NetworkSpec, {"cidr": "10.0.0.0/24"}),
        (GpuPoolSpec, {"max_nodes": "2", "service": "local"}),
        (GpuPoolSpec, {"max_nodes": True, "service": "local"}),
        (GpuPoolSpec, {"max_nodes": 2, "service": "local", "capacity": "spot"}),
        (GpuPoolSpec, {"max_nodes": 2, "service": "local", "zone": "a"}),
        (LimitsSpec, {"gpus": 0}),
        (YardSpec, {"cloud": "local", "pools": {}}),
        (YardSpec, {"cloud": "local", "expires": "2027-02-30", "pools": {"p": {"max_nodes": 1, "service": "local"}}}),
        (YardSpec, {"cloud": "local", "pools": {"P": {"max_nodes": 1, "service": "local"}}}),
    ],
)
def test_wrong_specs_are_refused(spec: type[Spec], wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        spec.model_validate(wrong, context=in_cloud("local"))


def test_clouds_are_found_by_name() -> None:
    assert registry.cloud("local").__name__ == "gpuyard.components.local"
    with pytest.raises(LookupError, match="got 'mars', allowed: aws, azure, gcp, local"):
        registry.cloud("mars")
    for package in (gpuyard, gpuyard.aws, gpuyard.components, registry.cloud("local")):
        assert all(getattr(package, name) for name in package.__all__)
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            package.nothing  # noqa: B018 the access is the test


def test_importing_components_loads_nothing_heavy() -> None:
    heavy = "{'pulumi', 'pulumi_aws', 'pulumi_azure_native', 'pulumi_gcp', 'pydantic', 'torch', 'boto3', 'google', 'azure'}"
    # before: a package of Google's has a .pth file that makes the name `google` at every start of Python
    names = "gpuyard.components, gpuyard.components.aws, gpuyard.components.azure, gpuyard.components.gcp, gpuyard.components.local"
    code = f"import sys; before = set(sys.modules); import {names}; print({heavy} & (set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout == "set()\n"
