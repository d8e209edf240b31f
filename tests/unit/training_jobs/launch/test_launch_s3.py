"""launch on S3 and Secrets Manager, with the real clients against moto: objects, claims, code, secrets, checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest

from gpuyard.training_jobs.launch import objects, secrets, topology
from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.topology import NodePlacement, read_placement
from gpuyard.training_jobs.store import S3Store
from gpuyard.training_jobs.train.checkpoint_store import CheckpointStore, SupersededError
from tests.fakes.aws.moto_server import REGION, Moto, moto
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
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Moto]:
    with moto(monkeypatch, "runs") as found:
        yield found
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # each holds the endpoint of its test


def test_objects_on_s3_behave_as_on_disk(server: Moto) -> None:
    check_objects("s3://runs/gpuyard/runs/a-1")
    assert S3Store("s3://runs").names("gpuyard/runs/a-1") == ["attempts"]


def test_data_of_a_bucket_is_copied_and_checked(server: Moto, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_data_copy(S3Store("s3://runs"), "s3://runs", tmp_path, capsys)


def test_concurrent_claims_get_different_numbers(server: Moto) -> None:
    assert claim_concurrently("s3://runs/gpuyard/runs/a-1", "sagemaker", 12) == list(range(1, 13))


def test_a_conflicting_put_is_retried(server: Moto) -> None:
    body = b"<?xml version='1.0'?><Error><Code>ConditionalRequestConflict</Code><Message>m</Message></Error>"
    answers = iter([("409 Conflict", body)] * 2)
    server.fail(lambda method, path: next(answers, None) if method == "PUT" else None)
    assert objects.create("s3://runs/a", b"1")


def test_a_client_that_ignores_the_condition_is_refused(server: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    check_old_package_refused(monkeypatch, "s3://runs/a", "s3fs>=2025.3")


def test_missing_credentials_are_an_os_error(server: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuyard.training_jobs.launch.storage._PAUSES_S", (0.01, 0.01))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(OSError, match="NoCredentialsError"):
        objects.read("s3://runs/a")


def test_the_bootstrap_fetches_code_from_s3(server: Moto, tmp_path: Path) -> None:
    path, data = launching_tarball()
    url, env = f"s3://runs/{path}", server.environment()
    missing = bootstrap(tmp_path, url, env)
    assert missing.returncode == 1
    assert "gpuyard: cannot unpack the job's code: FileNotFoundError" in missing.stderr
    assert "Traceback" not in missing.stderr
    S3Store("s3://runs").create(path, data)
    done = bootstrap(tmp_path, url, env)
    assert done.stdout == f"launched in {tmp_path}/code with ['train.py']\n", done.stderr
    denied = bootstrap(tmp_path, url, {**env, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})
    assert denied.returncode == 1
    assert "Traceback" not in denied.stderr


def test_secrets_are_read_from_secrets_manager_in_the_region_of_the_arn(server: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto3.client("secretsmanager", region_name="eu-west-1")
    arn = client.create_secret(Name="wandb", SecretString="hunter2")["ARN"]
    binary = client.create_secret(Name="binary", SecretBinary=b"\x00")["ARN"]
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    assert secrets.resolve({"WANDB_API_KEY": arn}) == {"WANDB_API_KEY": "hunter2"}
    wrong = {
        "A": arn.replace("secret:wandb", "secret:other"),
        "B": f"{arn}:key::",
        "C": binary,
        "D": "arn:aws:ssm:eu-west-1:123456789012:parameter/x",
    }
    message = refusal_of_wrong_names(wrong, arn, "hunter2")
    for part in (
        "secrets.A",
        "ResourceNotFoundException",
        "secrets.B",
        "store each value as a secret",
        "secrets.C",
        "is binary",
        "secrets.D",
    ):
        assert part in message


def test_a_secret_service_that_is_down_is_a_temporary_error(server: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    server.fail(lambda method, path: ("500 Internal Server Error", b'{"__type": "InternalServiceError"}'))
    with pytest.raises(NodeExitError, match="temporarily cannot be read: InternalServiceError") as refused:
        secrets.resolve({"A": "arn:aws:secretsmanager:us-east-1:123456789012:secret:wandb-AbCdEf"})
    assert refused.value.code == 74


HOSTS = {"GPUYARD_SERVICE": "sagemaker", "SM_HOSTS": json.dumps(["algo-2", "algo-1"]), "SM_CURRENT_HOST": "algo-2"}


def test_sagemaker_placement_from_variables_or_the_services_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a node binds an address, because a starting host may not resolve its own name yet; the others connect by name
    monkeypatch.setattr(topology, "own_address", lambda env, towards: "10.0.0.7")
    assert read_placement({**HOSTS, "SM_NETWORK_INTERFACE_NAME": "eth0"}) == NodePlacement(1, 2, "algo-1", "10.0.0.7", 29400, "eth0")
    assert read_placement({**HOSTS, "SM_CURRENT_HOST": "algo-1", "GPUYARD_PORT": "4000"}) == NodePlacement(
        0, 2, "10.0.0.7", "10.0.0.7", 4000, None
    )
    config = tmp_path / "resourceconfig.json"
    monkeypatch.setattr(topology, "_SAGEMAKER_CONFIG", config)
    with pytest.raises(NodeExitError, match=r"did not set .*resourceconfig\.json or SM_HOSTS"):
        read_placement({"GPUYARD_SERVICE": "sagemaker"})
    config.write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1", "algo-2", "algo-3"], "network_interface_name": "eth0"}))
    assert read_placement({"GPUYARD_SERVICE": "sagemaker"}) == NodePlacement(0, 3, "10.0.0.7", "10.0.0.7", 29400, "eth0")


@pytest.mark.parametrize("change", [{"SM_HOSTS": "algo-1"}, {"SM_CURRENT_HOST": "algo-9"}, {"GPUYARD_PORT": "http"}])
def test_a_malformed_placement_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(NodeExitError, match="is malformed") as refused:
        read_placement({**HOSTS, **change})
    assert refused.value.code == 64


def test_checkpoints_on_s3_are_committed_fenced_and_deleted(server: Moto) -> None:
    url = "s3://runs/gpuyard/runs/a-1/checkpoints"

    def save(checkpoints: CheckpointStore, step: int) -> None:
        data = f"state of {step}".encode()
        checkpoints.put(step, f"state-{checkpoints.attempt}-0-0.safetensors", [data])
        entry: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        checkpoints.commit(step, {"files": {f"state-{checkpoints.attempt}-0-0.safetensors": entry}})

    first = CheckpointStore(url, attempt=1, keep=2)
    assert first.committed() == []
    for step in (10, 20, 30):
        save(first, step)
    assert [commit.step for commit in first.committed()] == [30, 20]
    second = CheckpointStore(url, attempt=2, keep=2)
    second.check_fence()
    newest = second.committed()[0]
    files_of = second.marker(newest)["files"]
    ((name, entry),) = files_of.items()
    assert second.read(newest.step, name, entry["sha256"]) == b"state of 30"
    save(second, 40)
    with pytest.raises(SupersededError):
        first.check_fence()
    assert S3Store("s3://runs").names("gpuyard/runs/a-1/checkpoints") == ["30", "40"]
