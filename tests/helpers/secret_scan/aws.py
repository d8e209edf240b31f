"""Scans everything that a test sent, stored and received on AWS for secrets: requests, tags, environment, logs, journal, code, errors."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable

import boto3

from tests.fakes.aws.botocore_service import FakeService
from tests.fakes.aws.moto_server import KEY_ID, SECRET_KEY

SECRET = "hunter2-gpuyard-secret-value"  # the value that tests keep in Secrets Manager
_NEVER = (SECRET, KEY_ID, SECRET_KEY, "of-the-job-role", "X-Amz-Signature=", "x-amz-security-token", "AWSAccessKeyId=")


def check_no_secret(services: Iterable[FakeService], *texts: str, bucket: str = "runs") -> None:
    """Fail if a secret is found. Of requests only the bodies are scanned: headers contain a signature by design."""
    content = {f"{call.operation} request {number}": call.raw for fake in services for number, call in enumerate(fake.calls)}
    content |= {f"text {number}": text.encode() for number, text in enumerate(texts)}
    client = boto3.client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", ()):
            data = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            content[entry["Key"]] = data
            if entry["Key"].endswith(".tar.gz"):
                with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                    content |= {f"{entry['Key']}/{member.name}": tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
    assert any(place.endswith("run.json") for place in content), json.dumps(sorted(content))
    for place, data in content.items():
        for secret in _NEVER:
            assert secret.lower().encode() not in data.lower(), f"{secret!r} in {place}"
