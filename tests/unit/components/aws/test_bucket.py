"""AWS's Bucket: privacy settings, access logs, key, retention on destroy, adoption."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from gpuyard.components.aws import Bucket, EncryptionKey
from gpuyard.components.aws.bucket_rules import data_lifecycle, log_lifecycle, log_policy, tls_only

ARN = "arn:aws:s3:us-east-1:111122223333:"
KEY = "arn:aws:kms:us-east-1:111122223333:"
SPLIT = {
    "private": "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "owner": "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
    "encryption": "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "versions": "aws:s3/bucketVersioning:BucketVersioning",
    "lifecycle": "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "policy": "aws:s3/bucketPolicy:BucketPolicy",
}
LOGGING = "aws:s3/bucketLogging:BucketLogging"
MISSING: Any = None  # the value of an output that another stack does not have
TAGS = {"owner": "ml-platform@acme.io"}


def one(spec: Any = None, **more: Any) -> Callable[[], None]:
    def program() -> None:
        bucket = Bucket("runs", spec, tags=TAGS, **more)
        pulumi.export("all", [bucket.name, bucket.url, bucket.arn, bucket.key_arn])

    return program


def snake(value: Any) -> Any:
    """Return a value with its keys in snake case."""
    if isinstance(value, dict):
        return {"".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key): snake(part) for key, part in value.items()}
    return [snake(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("preview", [False, True])
def test_tokens_and_child_names_do_not_change(record: Any, preview: bool) -> None:
    recorded = record(one(), preview=preview)
    assert sorted((request.type, request.name) for request in recorded.resources.values()) == sorted(
        [
            ("gpuyard-aws:index:Bucket", "runs"),
            ("gpuyard-aws:index:EncryptionKey", "runs-key"),
            ("aws:kms/key:Key", "runs-key-key"),
            ("aws:kms/alias:Alias", "runs-key-alias"),
            ("aws:s3/bucket:Bucket", "runs-bucket"),
            ("aws:s3/bucket:Bucket", "runs-access-logs"),
            (LOGGING, "runs-bucket-logging"),
            *((token, f"runs-{which}-{suffix}") for suffix, token in SPLIT.items() for which in ("bucket", "access-logs")),
        ]
    )
    assert set(recorded.outputs("Bucket")) == {"name", "url", "arn", "key_arn"}
    assert recorded.unknown == ({"all"} if preview else set())
    if not preview:
        assert recorded.exports["all"] == ["runs-bucket-id", "s3://runs-bucket-id", f"{ARN}runs-bucket", f"{KEY}runs-key-key"]


@pytest.mark.parametrize("which", ["bucket", "access-logs"])
def test_a_bucket_and_its_logs_are_private_versioned_and_tls_only(record: Any, which: str) -> None:
    recorded = record(one())
    found = {suffix: recorded.inputs(token, f"runs-{which}-{suffix}") for suffix, token in SPLIT.items()}
    assert all(inputs.pop("bucket") == f"runs-{which}-id" for inputs in found.values())
    assert found["private"] == dict.fromkeys(["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"], True)
    assert found["owner"] == {"rule": {"objectOwnership": "BucketOwnerEnforced"}}
    assert found["versions"] == {"versioningConfiguration": {"status": "Enabled"}}
    assert snake(found["lifecycle"]["rules"]) == (data_lifecycle() if which == "bucket" else log_lifecycle())
    wanted = tls_only(f"{ARN}runs-bucket")
    if which == "access-logs":
        wanted = log_policy(f"{ARN}runs-access-logs", f"{ARN}runs-bucket", "111122223333")
    assert json.loads(found["policy"]["policy"]) == wanted


def test_objects_are_encrypted_with_the_key_and_access_logs_with_s3s_key(record: Any) -> None:
    recorded = record(one())
    rules = {which: recorded.inputs(SPLIT["encryption"], f"runs-{which}-encryption")["rules"] for which in ("bucket", "access-logs")}
    assert rules["bucket"] == [
        {
            "applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": f"{KEY}runs-key-key"},
            "bucketKeyEnabled": True,
        }
    ]
    assert rules["access-logs"] == [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]


def test_logging_starts_after_s3_may_write_the_logs(record: Any) -> None:
    recorded = record(one())
    assert recorded.inputs(LOGGING, "runs-bucket-logging") == {
        "bucket": "runs-bucket-id",
        "targetBucket": "runs-access-logs-id",
        "targetPrefix": "runs/",
    }
    after = recorded.one(LOGGING, "runs-bucket-logging").dependencies
    assert any(urn.endswith("BucketPolicy::runs-access-logs-policy") for urn in after)
    assert any(
        urn.endswith("BucketVersioning::runs-bucket-versions")
        for urn in recorded.one(SPLIT["lifecycle"], "runs-bucket-lifecycle").dependencies
    )


def test_a_resource_that_uses_the_bucket_waits_for_its_settings(record: Any) -> None:
    def program() -> None:
        bucket = Bucket("runs")
        Bucket.adopt("same", bucket=bucket.name)
        pulumi.ComponentResource("t:index:User", "user", {"url": bucket.url})

    recorded = record(program)
    waits = {urn.rpartition("::")[2] for urn in recorded.one("t:index:User", "user").propertyDependencies["url"].urns}
    assert waits == {f"runs-bucket{part}" for part in ("", "-private", "-owner", "-encryption", "-versions", "-policy")}


def test_keep_retains_every_resource_and_delete_retains_none(record: Any) -> None:
    kept, deleted = record(one()), record(one({"on_destroy": "delete"}))
    assert kept.one("gpuyard-aws:index:Bucket", "runs").retainOnDelete  # the engine applies it to the children too
    assert kept.one("gpuyard-aws:index:EncryptionKey", "runs-key").retainOnDelete
    assert not any(request.retainOnDelete for request in deleted.resources.values())
    for recorded, force in ((kept, False), (deleted, True)):
        for name in ("runs-bucket", "runs-access-logs"):
            bucket = recorded.inputs("aws:s3/bucket:Bucket", name)
            assert bucket["forceDestroy"] is force
            assert bucket["tags"] == {**TAGS, "stack": "gpuyard/local", "Name": name}
            assert "bucket" not in bucket  # Pulumi generates the name, because bucket names are unique world-wide


@pytest.mark.parametrize("preview", [False, True])
def test_a_given_key_is_used_and_no_other_is_created(record: Any, preview: bool) -> None:
    recorded = record(lambda: one(key=EncryptionKey("mine"))(), preview=preview)
    assert [request.name for request in recorded.resources.values() if request.type == "aws:kms/key:Key"] == ["mine-key"]
    if not preview:
        assert recorded.exports["all"][3] == f"{KEY}mine-key"


@pytest.mark.parametrize("preview", [False, True])
def test_an_adopted_bucket_is_not_managed(record: Any, preview: bool) -> None:
    def program() -> None:
        plain = Bucket.adopt("data", bucket="acme-ml-datasets")
        other = Bucket.adopt("more", bucket=pulumi.Output.from_input("acme.more"), key_arn="arn:aws:kms:::key/1")
        assert plain.key_arn is None
        pulumi.export("known", [plain.name, plain.url, other.url, other.key_arn])
        pulumi.export("arns", [plain.arn, other.arn])

    recorded = record(program, preview=preview)
    assert {request.type for request in recorded.resources.values()} == {"gpuyard-aws:index:Bucket"}
    assert recorded.exports["known"] == ["acme-ml-datasets", "s3://acme-ml-datasets", "s3://acme.more", "arn:aws:kms:::key/1"]
    assert recorded.lookups == ["aws:index/getPartition:getPartition"] * 2
    if preview:
        assert recorded.unknown == {"arns"}
    else:
        assert recorded.exports["arns"] == ["arn:aws:s3:::acme-ml-datasets", "arn:aws:s3:::acme.more"]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            lambda: Bucket("b", {"on_destroy": "burn", "versioned": True}),
            ["Bucket b: 2 problems", "on_destroy: wrong value, got 'burn'", "versioned: "],
        ),
        (lambda: Bucket("My_Runs"), ["Bucket My_Runs: 1 problem", "name: not a valid name, got 'My_Runs', allowed: a-z, 0-9 and -"]),
        (
            lambda: Bucket("My_Runs", {"on_destroy": "burn"}),
            ["Bucket My_Runs: 2 problems", "name: not a valid name, got", "on_destroy: wrong value, got 'burn'"],
        ),
        (
            lambda: Bucket.adopt("d", bucket="s3://acme/data"),
            ["existing: not the name of a bucket, got 's3://acme/data'", "without s3:// and path"],
        ),
        (lambda: Bucket.adopt("d", bucket=MISSING), ["existing: not the name of a bucket, got nothing"]),
        (
            lambda: Bucket("b", tags={"aws:x": "1", "o": "a;b"}),
            ["Bucket b: 2 problems", "'aws:x'", "tags.o: not a valid tag value, got 'a;b'"],
        ),
    ],
)
def test_all_wrong_inputs_are_reported(record: Any, program: Callable[[], Any], expected: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(program)
    assert all(text in str(caught.value) for text in expected), str(caught.value)
