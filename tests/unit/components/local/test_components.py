"""Every component of `local` under the recording monitor, in an update and in a preview with unknown outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from gpuyard.components.local import Bucket, GpuPool, JobService, Network
from gpuyard.components.local.gpus import Gpus

DYNAMIC = "pulumi-python:dynamic/gpuyard-local:"


@pytest.fixture(autouse=True)
def _no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuyard.components.local.gpu_pool.find_gpus", Gpus)


def yard() -> None:
    tags = {"owner": "me"}
    network = Network("net", tags=tags)
    data, runs = Bucket("data", {"on_destroy": "delete"}, tags=tags), Bucket("runs", tags=tags)
    pools = [GpuPool(name, {"max_nodes": 2, "service": "local"}, network=network, tags=tags) for name in ("a", "b")]
    jobs = JobService("train", pools=pools, reads=[data], writes=[runs], secrets={"wandb": "file:/run/wandb"}, tags=tags)
    pulumi.export("job_targets", jobs.targets)


@pytest.mark.parametrize("preview", [False, True])
def test_tokens_and_child_names_do_not_change(record: Any, preview: bool) -> None:
    recorded = record(yard, preview=preview)
    assert sorted((request.type, request.name) for request in recorded.resources.values()) == [
        ("gpuyard-local:index:Bucket", "data"),
        ("gpuyard-local:index:Bucket", "runs"),
        ("gpuyard-local:index:GpuPool", "a"),
        ("gpuyard-local:index:GpuPool", "b"),
        ("gpuyard-local:index:JobService", "train"),
        ("gpuyard-local:index:Network", "net"),
        (f"{DYNAMIC}Bucket", "data-directory"),
        (f"{DYNAMIC}Bucket", "runs-directory"),
        (f"{DYNAMIC}GpuPool", "a-directory"),
        (f"{DYNAMIC}GpuPool", "b-directory"),
        (f"{DYNAMIC}Targets", "train-targets"),
    ]
    children = [request for request in recorded.resources.values() if request.type.startswith(DYNAMIC)]
    assert all(request.parent.endswith(f"::{request.name.rpartition('-')[0]}") for request in children)
    assert all(request.deleteBeforeReplace for request in children)


@pytest.mark.parametrize("preview", [False, True])
def test_every_component_registers_its_outputs_once(record: Any, preview: bool) -> None:
    recorded = record(yard, preview=preview)
    kinds = sorted(urn.split("::")[2].rpartition(":")[2] for urn in recorded.component_outputs if "gpuyard-local:index" in urn)
    assert kinds == ["Bucket", "Bucket", "GpuPool", "GpuPool", "JobService", "Network"]
    assert set(recorded.outputs("JobService")) == {"targets"}


def test_a_preview_creates_nothing(record: Any, tmp_path: Path) -> None:
    recorded = record(yard, preview=True)
    assert recorded.unknown == {"job_targets"}
    assert list(tmp_path.iterdir()) == []


def test_paths_follow_the_projects_directory_and_local_root(record: Any, tmp_path: Path) -> None:
    assert record(yard).inputs(f"{DYNAMIC}Bucket", "runs-directory")["path"] == f"{tmp_path}/.yard/buckets/runs"
    assert record(yard).inputs(f"{DYNAMIC}GpuPool", "a-directory")["path"] == f"{tmp_path}/.yard/pools/a"
    moved = record(yard, config={"local:root": "/srv/yards/one"})
    assert moved.inputs(f"{DYNAMIC}GpuPool", "a-directory")["path"] == "/srv/yards/one/pools/a"
    beside = record(yard, config={"local:root": "elsewhere"})
    assert beside.inputs(f"{DYNAMIC}GpuPool", "a-directory")["path"] == f"{tmp_path}/elsewhere/pools/a"


def test_keep_retains_the_bucket_and_delete_does_not(record: Any) -> None:
    recorded = record(yard)
    assert recorded.one("gpuyard-local:index:Bucket", "runs").retainOnDelete  # the engine applies it to the children too
    assert not recorded.one("gpuyard-local:index:Bucket", "data").retainOnDelete


def test_the_targets_file_equals_the_export(record: Any) -> None:
    recorded = record(yard)
    content = recorded.inputs(f"{DYNAMIC}Targets", "train-targets")["content"]
    assert json.loads(content) == recorded.exports["job_targets"]
    assert set(recorded.exports["job_targets"]) == {"a", "b"}
    assert recorded.exports["job_targets"]["a"]["stack"] == "gpuyard/local"


def test_providers_are_referenced_by_name_and_readable(record: Any) -> None:
    """The state contains the reference. A long or secret one means that Pulumi pickled the code into it."""
    for request in record(yard).resources.values():
        if request.type.startswith(DYNAMIC):
            assert len(request.object["__provider"]) < 100


def test_tags_are_inherited_from_a_parent(record: Any) -> None:
    def program() -> None:
        parent = Bucket("outer", tags={"owner": "me", "team": "nlp"})
        Bucket("inner", tags={"team": "cv"}, opts=pulumi.ResourceOptions(parent=parent))

    assert record(program).inputs("gpuyard-local:index:Bucket", "inner")["tags"] == {"owner": "me", "team": "cv"}


@pytest.mark.parametrize("preview", [False, True])
def test_an_adopted_bucket_is_not_managed(record: Any, tmp_path: Path, preview: bool) -> None:
    (tmp_path / "mine").mkdir()
    for program in (
        lambda: Bucket.adopt("data", bucket="mine"),
        lambda: Bucket.adopt("data", bucket=pulumi.Output.from_input(str(tmp_path / "mine"))),
    ):
        recorded = record(program, preview=preview)
        assert [request.type for request in recorded.resources.values()] == ["gpuyard-local:index:Bucket"]
        assert recorded.outputs("Bucket")["url"] == f"file://{tmp_path}/mine"


def some(name: str) -> Bucket:
    return Bucket.adopt(name, bucket="/tmp")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lambda: Bucket("b", {"on_destory": "keep"}), ["Bucket b", "on_destory: unknown key", "did you mean 'on_destroy'?"]),
        (
            lambda: Bucket.adopt("b", bucket="nowhere"),
            ["existing: no such directory, got 'nowhere'", "create the directory, or change the path"],
        ),
        (lambda: Bucket("b"), ["contains %, # or ?", "set `local:root`"]),
        (lambda: Network("n", {"cidr": "10.0.0.0/8"}), ["cidr: wrong value, got '10.0.0.0/8'", "127.77.0.0/24"]),
        (
            lambda: GpuPool("p", {"service": "local", "max_nodes": 0, "zone": "a"}, network=Network("n")),
            ["2 problems", "max_nodes: wrong value, got 0", "greater than or equal to 1", "zone: wrong value, got 'a'", "remove zone"],
        ),
        (lambda: JobService("j", pools=[], writes=[]), ["writes: not one bucket, got none", "exactly one bucket, the run bucket"]),
        (
            lambda: JobService("j", pools=[], writes=[some("a"), some("b")]),
            ["writes: not one bucket, got a, b"],
        ),
        (
            lambda: JobService("j", pools=[], writes=[some("a")], secrets={"k": "hunter2"}, submitters=["me"], limits={"gpu": 1}),
            ["3 problems", "secrets.k: wrong value, got (secret)", "submitters: wrong value, got ['me']", "limits.gpu: unknown key"],
        ),
    ],
)
def test_all_wrong_inputs_are_reported_without_a_traceback(record: Any, program: Callable[[], Any], expected: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(program, config={"local:root": "/tmp/50%"})
    assert all(text in str(caught.value) for text in expected), str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("found", "warning"),
    [
        (Gpus(("H100",)), "1 GPU cannot be divided over 2 nodes"),
        (Gpus(problem="nvidia-smi failed"), "nvidia-smi failed"),
        (Gpus(("H100",) * 2), None),
        (Gpus(), None),
    ],
)
def test_unused_gpus_cause_a_warning(record: Any, monkeypatch: pytest.MonkeyPatch, found: Gpus, warning: str | None) -> None:
    monkeypatch.setattr("gpuyard.components.local.gpu_pool.find_gpus", lambda: found)
    warnings = record(lambda: GpuPool("p", {"service": "local", "max_nodes": 2}, network=Network("n"))).warnings
    assert [warning in line for line in warnings] == [True] if warning else not warnings
