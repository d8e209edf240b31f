"""Policies and lifecycle rules of buckets: deletions, access, and acceptance by AWS's API (moto)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from gpuyard.components.aws.bucket_rules import data_lifecycle, existing_problems, log_lifecycle, log_policy, tls_only
from gpuyard.problems import show


def removable(rules: list[dict[str, Any]], key: str, current: bool, days: int) -> bool:
    """Tell whether S3 removes a version of an object that has been current, or noncurrent, for this number of days."""
    for rule in rules:
        if rule["status"] == "Enabled" and key.startswith(rule["filter"]["prefix"]):
            limit = (
                rule.get("expiration", {}).get("days") if current else rule.get("noncurrent_version_expiration", {}).get("noncurrent_days")
            )
            if limit is not None and days >= limit:
                return True
    return False


keys = st.sampled_from(
    [
        "gpuyard/runs/llm-3f9a1c0b77d2/checkpoints/400/commit-2.json",
        "gpuyard/runs/llm-3f9a1c0b77d2/checkpoints/400/state-2-0-0.safetensors",
        "gpuyard/submissions/llm-3f9a1c0b77d2/run.json",
        "gpuyard/targets.json",
        "tokens/part-0.bin",
    ]
)


@given(keys, st.integers(0, 10_000))
def test_current_objects_never_expire(key: str, days: int) -> None:
    assert not removable(data_lifecycle(), key, current=True, days=days)
    assert all(not {"date", "days"} & rule.get("expiration", {}).keys() for rule in data_lifecycle())
    assert all("transitions" not in rule for rule in data_lifecycle())


@given(keys, st.integers(0, 10_000))
def test_noncurrent_versions_expire_after_some_days(key: str, days: int) -> None:
    assert removable(data_lifecycle(), key, current=False, days=days) == (days >= (7 if key.startswith("gpuyard/runs/") else 30))
    assert all("newer_noncurrent_versions" not in rule.get("noncurrent_version_expiration", {}) for rule in data_lifecycle())


def test_access_logs_are_kept_for_a_year() -> None:
    assert not removable(log_lifecycle(), "runs/2026-11-22", current=True, days=364)
    assert removable(log_lifecycle(), "runs/2026-11-22", current=True, days=365)


def test_a_bucket_policy_denies_requests_without_tls_and_grants_nothing() -> None:
    document = tls_only("arn:aws:s3:::b")
    assert [(statement["Effect"], statement["Condition"]) for statement in document["Statement"]] == [
        ("Deny", {"Bool": {"aws:SecureTransport": "false"}}),
        ("Deny", {"NumericLessThan": {"s3:TlsVersion": "1.2"}}),
    ]
    assert all(statement["Resource"] == ["arn:aws:s3:::b", "arn:aws:s3:::b/*"] for statement in document["Statement"])
    assert all((statement["Principal"], statement["Action"]) == ("*", "s3:*") for statement in document["Statement"])


def test_only_the_log_service_writes_access_logs_and_only_of_this_bucket() -> None:
    allowed = [one for one in log_policy("arn:aws:s3:::l", "arn:aws:s3:::b", "1")["Statement"] if one["Effect"] == "Allow"]
    assert allowed == [
        {
            "Sid": "AccessLogs",
            "Effect": "Allow",
            "Principal": {"Service": "logging.s3.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::l/*",
            "Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::b"}, "StringEquals": {"aws:SourceAccount": "1"}},
        }
    ]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        for bucket in ("data-1", "logs-1"):
            client.create_bucket(Bucket=bucket)
        yield client
        client.close()


def camel(value: Any) -> Any:
    """Return a value with its keys as S3's API spells them."""
    if isinstance(value, dict):
        return {("ID" if key == "id" else "".join(word.title() for word in key.split("_"))): camel(part) for key, part in value.items()}
    return [camel(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("rules", [data_lifecycle(), log_lifecycle()])
def test_s3_accepts_the_lifecycle(s3: Any, rules: list[dict[str, Any]]) -> None:
    s3.put_bucket_lifecycle_configuration(Bucket="data-1", LifecycleConfiguration={"Rules": camel(rules)})
    found = s3.get_bucket_lifecycle_configuration(Bucket="data-1")["Rules"]
    assert [rule["ID"] for rule in found] == [rule["id"] for rule in rules]


def test_s3_accepts_the_policies_and_the_logging(s3: Any) -> None:
    data, logs = "arn:aws:s3:::data-1", "arn:aws:s3:::logs-1"
    s3.put_bucket_policy(Bucket="data-1", Policy=json.dumps(tls_only(data)))
    s3.put_bucket_policy(Bucket="logs-1", Policy=json.dumps(log_policy(logs, data, "123456789012")))
    s3.put_bucket_ownership_controls(Bucket="logs-1", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    wanted = {"LoggingEnabled": {"TargetBucket": "logs-1", "TargetPrefix": "data/"}}
    s3.put_bucket_logging(Bucket="data-1", BucketLoggingStatus=wanted)
    assert s3.get_bucket_logging(Bucket="data-1")["LoggingEnabled"]["TargetBucket"] == "logs-1"


@pytest.mark.parametrize("name", ["acme-ml-datasets", "a.b.c", "123", "x" * 63])
def test_legal_names_are_accepted(name: str) -> None:
    assert existing_problems(name) == []


@pytest.mark.parametrize("name", ["ab", "x" * 64, "Acme", "acme_ml", "-acme", "acme-", "a..b", "10.0.0.1", "s3://acme", "", None, 7])
def test_illegal_names_are_reported(name: Any) -> None:
    message = str(*existing_problems(name))
    assert message.startswith(f"existing: not the name of a bucket, got {show(name)}, allowed: 3 to 63 characters of")
