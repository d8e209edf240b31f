"""Scans everything that a test sent, stored and received on Azure for secrets, except headers and URLs that carry a token by design."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

from tests.fakes.azure.azureml import SAS
from tests.fakes.azure.blob_storage import Storage
from tests.fakes.azure.entra import MSI_SECRET, SIGNATURE, SUBJECT_TOKEN
from tests.fakes.azure.https_service import Call

SECRET = "hunter2-gpuyard-secret-value"
SECRETS = (SECRET, SUBJECT_TOKEN, SIGNATURE, MSI_SECRET, SAS, "sig=", "Bearer ey")


def check_no_secret(storage: Storage, calls: Iterable[Call], *texts: str) -> None:
    """Fail with the place of the first secret. `texts`: logs, errors, documents."""
    content = {f"request {number}: {call.operation}": call.raw for number, call in enumerate(calls)}
    content |= {f"text {number}": text.encode() for number, text in enumerate(texts)}
    for path, data in storage.objects().items():
        content[path] = data
        if path.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                content |= {f"{path}/{member.name}": tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
    assert len(content) > 5
    for place, data in content.items():
        for secret in SECRETS:
            assert secret.encode() not in data, f"{secret!r} in {place}"
