"""Resolves secret references to values on the node. The values go only into the workers' environment."""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .hook import BAD_CONFIG
from .node_exit import IO_ERROR, NodeExitError

__all__ = ["resolve"]


def resolve(references: Mapping[str, str]) -> dict[str, str]:
    """Resolve the reference of each variable to its value.

    Raises NodeExitError with code 74 if the cause may pass by itself, such as a network error. The message then names the first such
    secret. Otherwise the code is 64, and the message names every secret that cannot be read. Messages contain references, never values.
    """
    values, problems = {}, []
    for variable, reference in references.items():
        scheme = re.split("[:/]", reference, maxsplit=1)[0]
        try:
            if scheme not in _SCHEMES:
                raise ValueError(f"unknown scheme, got {scheme!r}, allowed: {', '.join(_SCHEMES)}")
            values[variable] = _SCHEMES[scheme](reference)
        except (OSError, ValueError) as error:
            problems.append(f"secrets.{variable}: {error}")
    if problems:
        raise NodeExitError(BAD_CONFIG, "; ".join(problems))
    return values


def _file(reference: str) -> str:
    path = Path(unquote(urlsplit(reference).path))
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        raise ValueError(f"{path}: other users can read it, got mode {mode:04o}; chmod 600 {path}")
    return path.read_text(encoding="utf-8").removesuffix("\n")


_PERMANENT_ERRORS = {
    "AccessDeniedException", "DecryptionFailure", "InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException",
    "UnrecognizedClientException", "ValidationException",
}  # fmt: skip


def _aws(reference: str) -> str:
    """Read an AWS Secrets Manager secret by its ARN, with the role of the node."""
    parts = reference.split(":")
    if len(parts) != 7 or parts[2] != "secretsmanager" or parts[5] != "secret":
        raise ValueError(
            f"not the ARN of a secret, got {reference}, allowed: arn:aws:secretsmanager:<region>:<account>:secret:<name>; "
            "store each value as a secret of its own"
        )
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise ValueError(f"{reference} cannot be read: {error}; install boto3 in the image (setup: runs too late)") from None
    try:
        retries = Config(retries={"mode": "standard", "total_max_attempts": 8})
        client = boto3.session.Session().client("secretsmanager", region_name=parts[3], config=retries)
        answer = client.get_secret_value(SecretId=reference)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _PERMANENT_ERRORS:
            raise ValueError(f"{reference} cannot be read: {code}; the job's role needs secretsmanager:GetSecretValue on it") from None
        raise NodeExitError(IO_ERROR, f"{reference} temporarily cannot be read: {code}") from None
    except BotoCoreError as error:
        raise NodeExitError(IO_ERROR, f"{reference} temporarily cannot be read: {type(error).__name__}") from None
    if "SecretString" not in answer:
        raise ValueError(f"{reference} is binary; store it as text")
    return str(answer["SecretString"])


_AZURE_SECRET = re.compile(r"(https://[a-zA-Z0-9-]{3,24}\.vault\.azure\.net)/secrets/([a-zA-Z0-9-]{1,127})(/[0-9a-f]{32})?")
_PERMANENT_STATUS = {400, 401, 403, 404}


def _azure(reference: str) -> str:
    """Read an Azure Key Vault secret by its URL with the node's identity. The token is sent to *.vault.azure.net only."""
    found = _AZURE_SECRET.fullmatch(reference)
    if found is None:
        raise ValueError(
            f"not a secret URL of Key Vault, got {reference.split('?')[0]}, "
            "allowed: https://<vault>.vault.azure.net/secrets/<name>[/<version>]"
        )
    try:
        from azure.core import PipelineClient
        from azure.core.exceptions import AzureError
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
        from azure.core.rest import HttpRequest
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise ValueError(f"{reference} cannot be read: {error}; install azure-identity in the image (setup: runs too late)") from None
    authentication = BearerTokenCredentialPolicy(DefaultAzureCredential(), "https://vault.azure.net/.default")
    try:
        client: Any = PipelineClient(found[1], policies=[RetryPolicy(retry_total=7, retry_backoff_max=20), authentication])
        with client:
            answer = client.send_request(HttpRequest("GET", f"{reference}?api-version=7.4"))
            body = answer.json() if answer.status_code == 200 else {}
    except AzureError as error:
        raise NodeExitError(IO_ERROR, f"{reference} temporarily cannot be read: {type(error).__name__}") from None
    if answer.status_code in _PERMANENT_STATUS:
        fix = "the job's identity needs the role Key Vault Secrets User on it"
        raise ValueError(f"{reference} cannot be read: HTTP {answer.status_code}; {fix}")
    if answer.status_code != 200:
        raise NodeExitError(IO_ERROR, f"{reference} temporarily cannot be read: HTTP {answer.status_code}")
    return str(body["value"])


_GCP_SECRETS = "https://secretmanager.googleapis.com"
_GCP_NAME = re.compile(r"projects/[^/]+/secrets/[\w-]+/versions/(\d+|latest)")


def _gcp(reference: str) -> str:
    """Read a GCP Secret Manager secret version with the node's service account.

    It uses REST, because images with gcsfs have google-auth, but few have Google's Secret Manager client.
    """
    if not _GCP_NAME.fullmatch(reference):
        raise ValueError(
            f"not the name of a secret version, got {reference}, allowed: projects/<project>/secrets/<name>/versions/<number or latest>"
        )
    try:
        import google.auth
        import requests
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport import requests as transport
    except ImportError as error:
        raise ValueError(
            f"{reference} cannot be read: {error}; install google-auth and requests in the image (setup: runs too late)"
        ) from None
    authorized_session: Any = transport.AuthorizedSession  # untyped
    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        session = authorized_session(credentials)
        for scheme in ("https://", "http://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=_retries()))
        with session:
            host = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", _GCP_SECRETS).rstrip("/")
            answer = session.get(f"{host}/v1/{reference}:access", timeout=20)
    except (GoogleAuthError, requests.RequestException) as error:
        raise NodeExitError(IO_ERROR, f"{reference} temporarily cannot be read: {type(error).__name__}") from None
    if answer.status_code in _PERMANENT_STATUS:
        fix = "the job's service account needs roles/secretmanager.secretAccessor on it"
        raise ValueError(f"{reference} cannot be read: HTTP {answer.status_code}; {fix}")
    if answer.status_code != 200:
        raise NodeExitError(IO_ERROR, f"{reference} temporarily cannot be read: HTTP {answer.status_code}")
    try:
        return base64.b64decode(answer.json()["payload"]["data"]).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{reference} is binary; store it as text") from None


def _retries() -> Any:
    from urllib3.util import Retry

    return Retry(total=7, backoff_factor=0.5, status_forcelist=[408, 429, 500, 502, 503, 504], raise_on_status=False)


_SCHEMES: dict[str, Callable[[str], str]] = {"file": _file, "arn": _aws, "https": _azure, "projects": _gcp}
