"""Fake of GCP Secret Manager: returns secret versions by their full names."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from tests.fakes.gcp.http_service import Answer, Call, FakeHttp, RefusalError, answer


class FakeSecrets(FakeHttp):
    """The service. `versions`: projects/P/secrets/NAME/versions/V -> bytes."""

    def __init__(self, versions: Mapping[str, bytes]) -> None:
        super().__init__()
        self.versions = dict(versions)

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that uses it."""
        return {"CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"{self.url}/"}

    def payload(self, name: str) -> str:
        """Return the API's payload of a secret."""
        return base64.b64encode(self.versions[name]).decode()

    def serve(self, call: Call) -> Answer:
        """Answer AccessSecretVersion."""
        name = call.path.removeprefix("/v1/").removesuffix(":access")
        if not call.path.endswith(":access") or name not in self.versions:
            raise RefusalError(404, f"Secret [{name}] not found or has no versions.", "notFound")
        return answer({"name": name, "payload": {"data": self.payload(name)}})
