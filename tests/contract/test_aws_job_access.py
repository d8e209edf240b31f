"""The permissions that components/aws gives a job cover the S3 calls of training_jobs: each call is checked against the policy."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from gpuyard.components.aws.permissions import Storage, job
from gpuyard.components.aws.policy import policy_document
from gpuyard.training_jobs.launch import objects
from gpuyard.training_jobs.train import shards
from gpuyard.training_jobs.train.checkpoint_store import CheckpointStore
from tests.helpers.iam_evaluator import allows

POLICY = policy_document(job(Storage("arn:aws:s3:::runs", None), [Storage("arn:aws:s3:::data", None)], []))
RUN = "s3://runs/gpuyard/runs/llm-0a1b"
# the permissions of a call: docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
ACTIONS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "ListParts": "s3:ListMultipartUploadParts",
    "PutObject": "s3:PutObject",
    "UploadPart": "s3:PutObject",
}


def allowed(operation: str, call: dict[str, Any]) -> bool:
    bucket = f"arn:aws:s3:::{call['Bucket']}"
    action = ACTIONS[operation]
    if action == "s3:ListBucket":
        return allows(POLICY, action, bucket, {"s3:prefix": call["Prefix"]} if "Prefix" in call else {})
    missing_gives_404 = action != "s3:GetObject" or allows(POLICY, "s3:ListBucket", bucket)
    return missing_gives_404 and allows(POLICY, action, f"{bucket}/{call['Key']}")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Run a fake S3 with two buckets and yield the list of its calls. A call that the policy does not allow is refused."""
    s3fs, remote = import_module("s3fs"), import_module("aiobotocore.client").AioBaseClient
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    for bucket in ("runs", "data"):
        client.create_bucket(Bucket=bucket)
    client.put_object(Bucket="data", Key="tokens/0.bin", Body=b"0123")
    client.put_object(Bucket="runs", Key="gpuyard/code/0a.tar.gz", Body=b"code")
    real = remote._make_api_call
    made: list[str] = []

    async def guarded(self: Any, operation: str, params: Any) -> Any:
        made.append(operation)
        if not allowed(operation, params):
            raise AssertionError(f"{operation} {params} is not allowed")
        return await real(self, operation, params)

    monkeypatch.setattr(remote, "_make_api_call", guarded)
    s3fs.S3FileSystem.clear_instance_cache()
    yield made
    s3fs.S3FileSystem.clear_instance_cache()
    client.close()
    server.stop()


def test_the_jobs_policy_allows_each_call_of_launch_and_train(calls: list[str]) -> None:
    assert objects.create(f"{RUN}/run.json", b"{}")
    assert not objects.create(f"{RUN}/run.json", b"{}")
    objects.write(f"{RUN}/attempts/1.json", b"1")
    assert objects.read(f"{RUN}/attempts/1.json") == b"1"
    assert objects.read(f"{RUN}/attempts/2.json") is None
    assert objects.list_names(f"{RUN}/attempts") == ["1.json"]
    assert objects.list_names(f"{RUN}/nothing") == []
    objects.remove(f"{RUN}/attempts/1.json")
    assert objects.read("s3://runs/gpuyard/code/0a.tar.gz") == b"code"

    checkpoints = CheckpointStore(f"{RUN}/checkpoints", attempt=1, keep=1)
    checkpoints.check_fence()
    for step in (1, 2):
        checkpoints.put(step, "state-1-0-0.safetensors", [b"xy"])
        checkpoints.commit(step, {"files": {"state-1-0-0.safetensors": {"bytes": 2}}})
    [kept] = checkpoints.committed()
    assert kept.step == 2
    assert checkpoints.marker(kept)["attempt"] == 1

    fs, root = shards.open_filesystem("s3://data/tokens")
    assert fs.cat_file(f"{root}/0.bin") == b"0123"
    fs, root = shards.open_filesystem(f"{RUN}/output")
    fs.pipe_file(f"{root}/model.safetensors", b"x" * (11 << 20), chunksize=5 << 20)
    assert {"PutObject", "GetObject", "HeadObject", "ListObjectsV2", "DeleteObject", "CreateMultipartUpload"} <= set(calls)


@pytest.mark.parametrize(
    "url", ["s3://runs/gpuyard/targets.json", "s3://runs/gpuyard/code/0a.tar.gz", "s3://runs/else", "s3://data/tokens/0.bin"]
)
def test_the_jobs_policy_denies_writes_elsewhere(calls: list[str], url: str) -> None:
    with pytest.raises(OSError, match=r"PutObject .* is not allowed"):
        objects.write(url, b"mine")
