"""What a node does over S3 and Secrets Manager, with the real clients against moto: files, claims, code, secrets, checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest

from gpuyard.training_jobs.launch import objects as files
from gpuyard.training_jobs.launch import secrets, topology
from gpuyard.training_jobs.launch.node_exit import EndedError
from gpuyard.training_jobs.launch.topology import Place, place
from gpuyard.training_jobs.store import S3Store
from gpuyard.training_jobs.train.checkpoint_store import Checkpoints, SupersededError
from tests.fakes.aws.moto_server import REGION, Moto, moto
from tests.helpers.launch_checks import as_on_disk, bootstrap, claimed, launching_tarball, refusal, refuses_old


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Moto]:
    with moto(monkeypatch, "runs") as found:
        yield found
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # each holds the endpoint of its test


def test_files_on_s3_are_as_on_disk(server: Moto) -> None:
    as_on_disk("s3://runs/gpuyard/runs/a-1")
    assert S3Store("s3://runs").names("gpuyard/runs/a-1") == ["attempts"]


def test_of_many_claims_each_has_a_number_of_its_own(server: Moto) -> None:
    assert claimed("s3://runs/gpuyard/runs/a-1", "sagemaker", 12) == list(range(1, 13))


def test_a_conflict_is_tried_again(server: Moto) -> None:
    body = b"<?xml version='1.0'?><Error><Code>ConditionalRequestConflict</Code><Message>m</Message></Error>"
    answers = iter([("409 Conflict", body)] * 2)
    server.fail(lambda method, path: next(answers, None) if method == "PUT" else None)
    assert files.create("s3://runs/a", b"1")


def test_a_client_that_would_drop_the_condition_is_refused(server: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses_old(monkeypatch, "s3://runs/a", "s3fs>=2025.3")


def test_no_credentials_come_out_as_an_os_error(server: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(OSError, match="NoCredentialsError"):
        files.read("s3://runs/a")


def test_the_bootstrap_fetches_code_from_s3(server: Moto, tmp_path: Path) -> None:
    path, data = launching_tarball()
    url, env = f"s3://runs/{path}", server.environment()
    missing = bootstrap(tmp_path, url, env)
    assert missing.returncode == 1
    assert "gpuyard: the job's code cannot be unpacked: FileNotFoundError" in missing.stderr
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
    said = refusal(wrong, arn, "hunter2")
    for part in ("secrets.A", "ResourceNotFoundException", "secrets.B", "one plain value", "secrets.C", "bytes", "secrets.D"):
        assert part in said


def test_a_secret_store_that_is_down_is_no_bad_configuration(server: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    server.fail(lambda method, path: ("500 Internal Server Error", b'{"__type": "InternalServiceError"}'))
    with pytest.raises(EndedError, match="at present: InternalServiceError") as refused:
        secrets.resolve({"A": "arn:aws:secretsmanager:us-east-1:123456789012:secret:wandb-AbCdEf"})
    assert refused.value.code == 74


HOSTS = {"GPUYARD_SERVICE": "sagemaker", "SM_HOSTS": json.dumps(["algo-2", "algo-1"]), "SM_CURRENT_HOST": "algo-2"}


def test_a_sagemaker_host_finds_its_place_in_variables_or_in_the_services_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place({**HOSTS, "SM_NETWORK_INTERFACE_NAME": "eth0"}) == Place(1, 2, "algo-1", "algo-2", 29400, "eth0")
    assert place({**HOSTS, "SM_CURRENT_HOST": "algo-1", "GPUYARD_PORT": "4000"}) == Place(0, 2, "algo-1", "algo-1", 4000, None)
    config = tmp_path / "resourceconfig.json"
    monkeypatch.setattr(topology, "_SAGEMAKER_CONFIG", config)
    with pytest.raises(EndedError, match=r"did not set .*resourceconfig\.json or SM_HOSTS"):
        place({"GPUYARD_SERVICE": "sagemaker"})
    config.write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1", "algo-2", "algo-3"], "network_interface_name": "eth0"}))
    assert place({"GPUYARD_SERVICE": "sagemaker"}) == Place(0, 3, "algo-1", "algo-1", 29400, "eth0")


@pytest.mark.parametrize("change", [{"SM_HOSTS": "algo-1"}, {"SM_CURRENT_HOST": "algo-9"}, {"GPUYARD_PORT": "http"}])
def test_a_malformed_place_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(EndedError, match="is malformed") as refused:
        place({**HOSTS, **change})
    assert refused.value.code == 64


def test_checkpoints_on_s3_are_committed_fenced_and_dropped(server: Moto) -> None:
    url = "s3://runs/gpuyard/runs/a-1/checkpoints"

    def save(checkpoints: Checkpoints, step: int) -> None:
        data = f"state of {step}".encode()
        checkpoints.put(step, f"state-{checkpoints.attempt}-0-0.safetensors", data)
        facts: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        checkpoints.commit(step, {"files": {f"state-{checkpoints.attempt}-0-0.safetensors": facts}})

    first = Checkpoints(url, attempt=1, keep=2)
    assert first.committed() == []
    for step in (10, 20, 30):
        save(first, step)
    assert [commit.step for commit in first.committed()] == [30, 20]
    second = Checkpoints(url, attempt=2, keep=2)
    second.check_fence()
    newest = second.committed()[0]
    files_of = second.marker(newest)["files"]
    ((name, facts),) = files_of.items()
    assert second.read(newest.step, name, facts["sha256"]) == b"state of 30"
    save(second, 40)
    with pytest.raises(SupersededError):
        first.check_fence()
    assert S3Store("s3://runs").names("gpuyard/runs/a-1/checkpoints") == ["30", "40"]
