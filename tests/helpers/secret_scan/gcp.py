"""Scans everything that a test sent, stored and received on GCP for secrets: requests, labels, environment, logs, journal, code, errors."""

from __future__ import annotations

import io
import json
import tarfile

from google.cloud.aiplatform_v1.types import CustomJob

from tests.fakes.gcp.workload_identity import SUBJECT_TOKEN
from tests.helpers.vertex_pool import Yard

SECRET = "hunter2-gpuyard-secret-value"  # the value that tests keep in Secret Manager
_NEVER = (SECRET, SUBJECT_TOKEN, "ya29.", "upload_id=", "X-Goog-Signature=", "bearer ")


def check_no_secret(yard: Yard, *texts: str) -> None:
    """Fail if a secret is found. Headers contain the token by design and are not scanned; uploads are scanned in the bucket."""
    content = {f"text {number}": text.encode() for number, text in enumerate((yard.logs.text(), *texts))}
    content |= {f"{operation} request {number}": str(request).encode() for number, (operation, request, _) in enumerate(yard.vertex.calls)}
    content |= {f"logging request {number}": call.body for number, call in enumerate(yard.logs.calls)}
    content |= {name: CustomJob.to_json(job.message).encode() for name, job in yard.vertex.jobs.items()}
    for name, kept in yard.storage.buckets["runs"].items():
        content |= {name: kept.data, f"{name} metadata": json.dumps(kept.metadata).encode()}
        if name.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(kept.data)) as tar:
                content |= {f"{name}/{member.name}": tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
    assert any(place.endswith("run.json") for place in content), sorted(content)
    for place, data in content.items():
        for secret in _NEVER:
            if not place.startswith("gpuyard/code/"):  # our own code may contain the names
                assert secret.lower().encode() not in data.lower(), f"{secret!r} in {place}"
        assert SECRET.encode() not in data, place
