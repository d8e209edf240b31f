"""Fake of workload identity federation: exchanges a pipeline's own token for an access token that the GCP fakes accept."""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

from tests.fakes.gcp.http_service import Answer, Call, FakeHttp, RefusalError, answer

SUBJECT_TOKEN = "eyJ.of-the-pipeline.signature"
GITHUB_TOKEN = "header.claims.signature"  # as tests/helpers/pipeline_schedulers.py issues it
AUDIENCE = "//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/ci/providers/github"


class FakeTokenExchange(FakeHttp):
    """The service. `lifetime_s`: lifetime of its access tokens. `refuses`: it refuses every caller."""

    def __init__(self, *, lifetime_s: float = 3600) -> None:
        super().__init__()
        self.lifetime_s, self.refuses = lifetime_s, False
        self.good: dict[str, float] = {}
        self.became: dict[str, str] = {}
        """Tokens of service accounts: token -> mail address."""
        self._numbers = itertools.count(1)

    def serve(self, call: Call) -> Answer:
        """Answer a token exchange (RFC 8693), or the impersonation of a service account with an exchanged token."""
        if call.path.endswith(":generateAccessToken"):
            return self._become(call)
        form = parse_qs(call.body.decode())
        known = form.get("subject_token") in ([SUBJECT_TOKEN], [GITHUB_TOKEN])
        if self.refuses or not known or form.get("audience") != [AUDIENCE]:
            error = {"error": "invalid_grant", "error_description": "The subject token is expired"}
            return Answer(400, json.dumps(error).encode(), {"Content-Type": "application/json"})
        if call.path != "/v1/token":
            raise RefusalError(404, "no such path")
        token = self.issue()
        kind = "urn:ietf:params:oauth:token-type:access_token"
        return answer({"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": int(self.lifetime_s)})

    def _become(self, call: Call) -> Answer:
        """Answer GenerateAccessToken of the IAM credentials API. The exchanged token identifies the caller."""
        account = call.path.rsplit("/", 1)[-1].removesuffix(":generateAccessToken")
        if not self.is_valid(call.headers.get("Authorization", call.headers.get("authorization", "")).removeprefix("Bearer ")):
            raise RefusalError(403, "Permission 'iam.serviceAccounts.getAccessToken' denied", "forbidden")
        token = self.issue()
        self.became[token] = account
        until = datetime.fromtimestamp(time.time() + self.lifetime_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return answer({"accessToken": token, "expireTime": until})

    def issue(self) -> str:
        """Issue a token that is valid from now on."""
        token = f"ya29.gpuyard-test-{next(self._numbers)}-{'x' * 24}"
        self.good[token] = time.time() + self.lifetime_s
        return token

    def is_valid(self, token: str | None) -> bool:
        """Return whether a bearer token is valid now."""
        return self.good.get(token or "", 0.0) > time.time()

    def revoke(self) -> None:
        """Revoke every issued token."""
        self.good.clear()

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the environment variables of a process that signs in to this fake, as a pipeline's action sets them."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "subject-token").write_text(SUBJECT_TOKEN)
        document = {
            "type": "external_account", "audience": AUDIENCE, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.url}/v1/token", "credential_source": {"file": str(folder / "subject-token")},
        }  # fmt: skip
        (folder / "credentials.json").write_text(json.dumps(document))
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(folder / "credentials.json"), "GOOGLE_CLOUD_PROJECT": "acme-ml"}
