"""Fake of Microsoft Entra ID: exchanges a workload's token for access tokens, and serves the managed identity of nodes."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.fakes.azure.https_service import Answer, Call, FakeHttps, RefusalError

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "aaaaaaaa-0000-0000-0000-000000000001"  # the submitter's application
NODES = "aaaaaaaa-0000-0000-0000-000000000002"  # the cluster's identity
SUBJECT_TOKEN = "header.claims-of-a-pipeline.signature"
MSI_SECRET = "msi-secret-of-a-node"
SIGNATURE = "signature-of-an-access-token"  # part of every access token; no log, record or error may contain it


def access_token(audience: str, client: str, lifetime_s: float = 3600) -> str:
    """Return an unsigned access token: Azurite and the fakes read its claims only."""
    now = int(time.time())
    claims = {
        "aud": audience, "iss": f"https://sts.windows.net/{TENANT}/", "nbf": now - 300, "iat": now - 300, "exp": int(now + lifetime_s),
        "appid": client, "oid": client, "tid": TENANT,
    }  # fmt: skip
    parts = [{"typ": "JWT", "alg": "RS256"}, claims]
    return ".".join([*(_base64(json.dumps(part).encode()) for part in parts), _base64(SIGNATURE.encode())])


def claims_of(headers: object) -> dict[str, object]:
    """Return the claims of a call's bearer token, empty if it is missing or expired."""
    header = str(headers.get("Authorization", ""))  # type: ignore[attr-defined]
    if not header.startswith("Bearer "):
        return {}
    middle = header.removeprefix("Bearer ").split(".")[1]
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return claims if float(str(claims["exp"])) > time.time() else {}


class FakeEntra(FakeHttps):
    """The authority. `lifetime_s`: seconds that its access tokens are valid. `closed`: it refuses every workload."""

    routes = (
        ("openid", "GET", r"login\.microsoftonline\.com/[^/]+(/v2\.0)?/\.well-known/openid-configuration"),
        ("discovery", "GET", r"login\.microsoftonline\.com/common/discovery/instance"),
        ("token", "POST", r"login\.microsoftonline\.com/[^/]+/oauth2/v2\.0/token"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.lifetime_s, self.closed = 3600.0, False

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the environment of a pipeline, with the token that its CI service issued."""
        file = folder / "pipeline-token"
        file.write_text(SUBJECT_TOKEN)
        return {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_FEDERATED_TOKEN_FILE": str(file)}

    def openid(self, call: Call) -> Answer:
        """Return the OpenID configuration."""
        host = "https://login.microsoftonline.com"
        return Answer(
            200,
            {
                "token_endpoint": f"{host}/{TENANT}/oauth2/v2.0/token",
                "authorization_endpoint": f"{host}/{TENANT}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{host}/{TENANT}/oauth2/v2.0/devicecode",
                "issuer": f"{host}/{TENANT}/v2.0",
            },
        )

    def discovery(self, call: Call) -> Answer:
        """Return the authority's host names."""
        names = ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"]
        entry = {"preferred_network": names[0], "preferred_cache": "login.windows.net", "aliases": names}
        return Answer(200, {"tenant_discovery_endpoint": f"https://{names[0]}/{TENANT}/v2.0/.well-known/openid-configuration",
                            "api-version": "1.1", "metadata": [entry]})  # fmt: skip

    def token(self, call: Call) -> Answer:
        """Return an access token for a pipeline's token."""
        form = {name: values[0] for name, values in parse_qs(call.raw.decode()).items()}
        if self.closed or form.get("client_assertion") != SUBJECT_TOKEN:
            document = {
                "error": "invalid_client",
                "error_description": "AADSTS700024: Client assertion is not within its valid time range.",
            }
            raise _OAuthError(document)
        audience = form["scope"].removesuffix("/.default")
        token = access_token(audience, form["client_id"], self.lifetime_s)
        return Answer(200, {"token_type": "Bearer", "expires_in": int(self.lifetime_s), "access_token": token})


class _OAuthError(RefusalError):
    def __init__(self, document: dict[str, str]) -> None:
        super().__init__(401, document["error"], document["error_description"])
        self.answer = Answer(401, document)


class NodeIdentity(ThreadingHTTPServer):
    """The token endpoint that Azure ML gives the nodes of a cluster (MSI_ENDPOINT, MSI_SECRET)."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requested: list[str] = []
        super().__init__(("127.0.0.1", 0), _Tokens)

    def environment(self) -> dict[str, str]:
        """Return the environment of a node."""
        return {
            "MSI_ENDPOINT": f"http://127.0.0.1:{self.server_port}/msi/token",
            "MSI_SECRET": MSI_SECRET,
            "DEFAULT_IDENTITY_CLIENT_ID": NODES,
        }

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Tokens(BaseHTTPRequestHandler):
    server: NodeIdentity

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        allowed = self.headers.get("secret") == MSI_SECRET and query.get("clientid") == NODES
        self.server.requested.append(query.get("resource", ""))
        document = {"message": "no such identity"}
        if allowed:
            document = {
                "access_token": access_token(query["resource"], NODES),
                "expires_on": str(int(time.time()) + 3600),
                "token_type": "Bearer",
                "resource": query["resource"],
            }
        data = json.dumps(document).encode()
        self.send_response(200 if allowed else 400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
