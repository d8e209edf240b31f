"""launch on Vertex AI: objects and claims on Cloud Storage, code, Secret Manager secrets, placement from CLUSTER_SPEC."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from gpuyard.training_jobs.launch import secrets, topology
from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.topology import read_placement
from gpuyard.training_jobs.store import GcsStore
from tests.fakes.gcp.cloud_storage import FakeStorage
from tests.fakes.gcp.http_service import Fault
from tests.fakes.gcp.secret_manager import FakeSecrets
from tests.fakes.gcp.workload_identity import FakeTokenExchange
from tests.helpers.gcs_bucket import storage
from tests.helpers.launch_checks import (
    bootstrap,
    check_data_copy,
    check_objects,
    check_old_package_refused,
    claim_concurrently,
    launching_tarball,
    refusal_of_wrong_names,
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStorage]:
    with storage(monkeypatch, "runs") as found:
        yield found
        fsspec.get_filesystem_class("gs").clear_instance_cache()  # each holds the endpoint of its test


def test_objects_on_gcs_behave_as_on_disk(server: FakeStorage) -> None:
    check_objects("gs://runs/gpuyard/runs/a-1")
    assert GcsStore("gs://runs").names("gpuyard/runs/a-1") == ["attempts"]


def test_data_of_a_bucket_is_copied_and_checked(server: FakeStorage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_data_copy(GcsStore("gs://runs"), "gs://runs", tmp_path, capsys)


def test_concurrent_claims_get_different_numbers(server: FakeStorage) -> None:
    assert claim_concurrently("gs://runs/gpuyard/runs/a-1", "vertex", 12) == list(range(1, 13))


def test_a_file_system_that_would_drop_the_condition_is_refused(server: FakeStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    check_old_package_refused(monkeypatch, "gs://runs/a", "gcsfs>=2025.3")


def test_the_bootstrap_fetches_code_from_gcs(server: FakeStorage, tmp_path: Path) -> None:
    path, data = launching_tarball()
    GcsStore("gs://runs").create(path, data)
    done = bootstrap(tmp_path, f"gs://runs/{path}", server.environment())
    assert done.stdout == f"launched in {tmp_path}/code with ['train.py']\n", done.stderr


NAME = "projects/acme-ml/secrets/wandb/versions/3"


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSecrets]:
    with FakeTokenExchange() as tokens, FakeSecrets({NAME: b"hunter2", NAME.replace("wandb", "binary"): b"\xff\x00"}) as found:
        found.accepts = tokens.is_valid
        for name, value in {**tokens.environment(tmp_path), **found.environment()}.items():
            monkeypatch.setenv(name, value)
        yield found


def test_secrets_are_read_from_secret_manager(vault: FakeSecrets) -> None:
    assert secrets.resolve({"WANDB_API_KEY": NAME}) == {"WANDB_API_KEY": "hunter2"}
    wrong = {
        "A": NAME.replace("wandb", "gone"), "B": "projects/acme-ml/secrets/wandb", "C": NAME.replace("wandb", "binary"),
        "D": "projects/acme-ml/secrets/wandb/versions/3:access",
    }  # fmt: skip
    message = refusal_of_wrong_names(wrong, NAME, "hunter2")
    for part in ("secrets.A", "HTTP 404", "secrets.B", "versions/<number or latest>", "secrets.C", "is binary", "secrets.D"):
        assert part in message


def test_a_secret_service_that_is_down_is_a_temporary_error(vault: FakeSecrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda _: None)
    vault.fail(Fault(503, "unavailable"), times=3)
    assert secrets.resolve({"A": NAME}) == {"A": "hunter2"}
    vault.fail(Fault(503, "unavailable"), times=100)
    with pytest.raises(NodeExitError, match="temporarily cannot be read: HTTP 503") as refused:
        secrets.resolve({"A": NAME})
    assert refused.value.code == 74


def test_the_fake_gives_the_text_as_the_service_does(vault: FakeSecrets) -> None:
    assert base64.b64decode(vault.payload(NAME)) == b"hunter2"


def spec(task: str, index: int, *, others: int = 2, **more: object) -> dict[str, str]:
    """Return the variables of a replica. Its names in CLUSTER_SPEC are those of Kubernetes services, which nothing on the node can bind."""
    pools = {"workerpool0": ["cmle-training-workerpool0-0a1b-0:2222"]}
    if others:
        pools["workerpool1"] = [f"cmle-training-workerpool1-0a1b-{number}:2222" for number in range(others)]
    spec = {"cluster": pools, "environment": "cloud", "task": {"type": task, "index": index}, "job": "{}", **more}
    return {"GPUYARD_SERVICE": "vertex", "CLUSTER_SPEC": json.dumps(spec), "GPUYARD_NODE_ADDRESS": f"127.0.0.{index + 2}"}


def test_placement_of_a_vertex_node_in_the_cluster_spec() -> None:
    found = read_placement(spec("workerpool1", 1))
    assert (found.rank, found.nodes, found.address, found.port) == (2, 3, "127.0.0.3", 0)
    first = read_placement(spec("workerpool0", 0, open_ports=[4001, 4002]))
    assert (first.rank, first.main_address, first.port) == (0, "127.0.0.2", 4001)
    alone = read_placement(spec("workerpool0", 0, others=0))
    assert (alone.rank, alone.nodes) == (0, 1)


def test_a_vertex_node_takes_the_address_of_its_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a host name of its own, as in these tests, the source address of the default route."""
    without = {name: value for name, value in spec("workerpool0", 0).items() if name != "GPUYARD_NODE_ADDRESS"}
    monkeypatch.setattr(topology, "own_address", lambda env, towards: "10.0.0.7")
    monkeypatch.setattr(topology, "address_of", lambda host, loopback: "10.0.0.6" if host == socket.gethostname() else None)
    assert read_placement(without).address == "10.0.0.6"
    monkeypatch.setattr(topology, "address_of", lambda host, loopback: None)
    assert read_placement(without).address == "10.0.0.7"


@pytest.mark.parametrize(("env", "message"), [({}, "did not set CLUSTER_SPEC"), ({"CLUSTER_SPEC": "{"}, "malformed")])
def test_a_missing_or_malformed_cluster_spec_is_refused(env: dict[str, str], message: str) -> None:
    with pytest.raises(NodeExitError, match=message) as refused:
        read_placement({"GPUYARD_SERVICE": "vertex", **env})
    assert refused.value.code == 64
