"""Azure REST clients with this process's identity, timeouts, retries and renewed credentials.

gpuyard does not use the official MLClient. Only its tests use it, to check the request bodies. MLClient adds properties of the current
folder's git checkout to each job, so the same submission from another folder would be another request. MLClient also does not report
when a job ran, why it failed, or the log of a second node (docs/adr/0010).
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from . import Json
from .azure_credentials import default_credential
from .azure_errors import client_errors, error_kind, translate_error
from .token_claims import read_claims

if TYPE_CHECKING:
    from azure.core.rest import HttpResponse

__all__ = ["ARM", "AzureClients", "azure_clients"]

ARM = "https://management.azure.com"
_RETRIES = {"retry_total": 5, "retry_backoff_factor": 0.4, "retry_backoff_max": 20}  # half a minute in all


class AzureClients:
    """One client for each token audience, created on its first use.

    `sign_in`: function that returns the credential; default: azure-identity's DefaultAzureCredential.
    """

    def __init__(self, *, sign_in: Callable[[], Any] = default_credential) -> None:
        self._sign_in = sign_in
        self._clients: dict[str | None, Any] = {}
        self._lock = threading.Lock()

    def call(
        self,
        verb: str,
        url: str,
        body: Json | None = None,
        *,
        audience: str | None,
        job_may_run: bool = False,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Make one call and return the response. Raises a GpuyardError whose cause is azure-core's error.

        The client retries by itself, so the call must be safe to repeat. `audience`: the service that the token is for; None for signed
        URLs, which need no token. `form`: a form instead of a JSON body. `job_may_run`: a job may already be running, so expired
        credentials raise LostSightError instead of AuthError.
        """
        from azure.core.exceptions import HttpResponseError
        from azure.core.rest import HttpRequest

        renewed = False
        while True:
            try:
                request = HttpRequest(verb, url, json=body, data=dict(form) if form else None, headers=dict(headers or {}))
                response: HttpResponse = self._client(audience).send_request(request)
                if response.status_code >= 400:
                    raise HttpResponseError(response=response)
                return response
            except client_errors() as error:
                if error_kind(error) != "expired" or renewed:
                    action = f"{verb} {url.split('?')[0]}"
                    raise translate_error(error, action, self._drop_clients, job_may_run=job_may_run) from error
            renewed = True  # the user or the pipeline may have renewed the credentials: a new client reads them again
            self._drop_clients()

    @functools.cached_property
    def principal(self) -> str | None:
        """Return the user or the application of this process's access token, with its object id. None without a token."""
        from azure.core.exceptions import AzureError

        try:
            claims = read_claims(self._sign_in().get_token(f"{ARM}/.default").token)
        except AzureError:
            return None
        name = claims.get("upn") or claims.get("unique_name") or claims.get("appid")
        return f"{name} (object {claims['oid']})" if name and "oid" in claims else name

    def _client(self, audience: str | None) -> Any:
        with self._lock:
            if audience not in self._clients:
                self._clients[audience] = self._create(audience)
            return self._clients[audience]

    def _create(self, audience: str | None) -> Any:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, UserAgentPolicy
        from azure.core.pipeline.transport import RequestsTransport

        policies: list[Any] = [UserAgentPolicy("gpuyard"), RetryPolicy(**_RETRIES)]
        if audience is not None:
            identity = self._sign_in()
            identity.get_token(f"{audience}/.default")  # missing credentials fail here at once, not after the client's retries
            policies.append(BearerTokenCredentialPolicy(identity, f"{audience}/.default"))
        return PipelineClient("", policies=policies, transport=RequestsTransport(connection_timeout=5, read_timeout=20))

    def _drop_clients(self) -> None:
        with self._lock:
            self._clients.clear()
        drop_credential = getattr(self._sign_in, "cache_clear", None)
        if drop_credential is not None:
            drop_credential()


def azure_clients() -> AzureClients:
    """Return this process's clients. They are replaced when the AZURE_* or proxy environment variables change."""
    return _cached(tuple(sorted(item for item in os.environ.items() if item[0].startswith(("AZURE_", "HTTPS_PROXY", "https_proxy")))))


@functools.lru_cache(maxsize=16)
def _cached(environment: tuple[tuple[str, str], ...]) -> AzureClients:
    return AzureClients()
