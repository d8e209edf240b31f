"""What AzureClients's services share: calls of their REST API with this process's identity, and what their errors mean.

The official MLClient is not used for the calls, only by the tests as the judge of the bodies: it adds the state of the git
checkout in the current folder to each job, as properties that the service lets nobody change, so one submission made from two
places is two different requests; it tells neither when a job ran, nor why it failed, nor what a second node wrote; and a
look at a job costs 60 ms of its own (docs/adr/0010).
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from .azure_credentials import credential
from .azure_errors import client_errors, error_code, error_kind, translate_error

_PATIENCE = {"retry_total": 5, "retry_backoff_factor": 0.4, "retry_backoff_max": 20}  # half a minute in all
_CONNECTIONS = 32


class AzureClients:
    """A client for each audience, made when first used. `sign_in` is injected by tests and by programs with an identity of their own."""

    def __init__(self, *, sign_in: Callable[[], Any] = credential) -> None:
        self._sign_in = sign_in
        self._clients: dict[str | None, Any] = {}
        self._making = threading.Lock()

    def call(
        self,
        verb: str,
        url: str,
        body: Any = None,
        *,
        audience: str | None,
        watching: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One call; the answer, with `status_code`, `json()` and `read()`. Raises a GpuyardError whose cause is azure-core's.

        `audience`: whom the token is for; None = the URL itself says that its bearer may. `watching`: a job may be running
        already, so what ran out is only the sight of it. Every call here may be made twice, so the client repeats it by itself.
        """
        from azure.core.exceptions import HttpResponseError
        from azure.core.rest import HttpRequest

        what, renewed = f"{verb} {url.split('?')[0]}", False
        while True:
            try:
                request = (
                    HttpRequest(verb, url, json=body, headers=dict(headers or {}))
                    if body is not None
                    else HttpRequest(verb, url, headers=dict(headers or {}))
                )
                answer = self._client(audience).send_request(request)
                if answer.status_code >= 400:
                    raise HttpResponseError(response=answer)
                return answer
            except client_errors() as error:
                if error_kind(error) != "expired" or renewed:
                    raise translate_error(error, what, self._forget, watching=watching) from error
            renewed = True  # whoever renews the credentials may have done so: a new one reads them once more
            self._forget()

    def _client(self, audience: str | None) -> Any:
        with self._making:
            if audience not in self._clients:
                self._clients[audience] = self._made(audience)
            return self._clients[audience]

    def _made(self, audience: str | None) -> Any:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, UserAgentPolicy
        from azure.core.pipeline.transport import RequestsTransport

        policies: list[Any] = [UserAgentPolicy("gpuyard"), RetryPolicy(**_PATIENCE)]
        if audience is not None:
            identity = self._sign_in()
            identity.get_token(f"{audience}/.default")  # none at all is said at once, not after the client's tries
            policies.append(BearerTokenCredentialPolicy(identity, f"{audience}/.default"))
        return PipelineClient("", policies=policies, transport=RequestsTransport(connection_timeout=5, read_timeout=20))

    def _forget(self) -> None:
        with self._making:
            self._clients.clear()
        forget = getattr(self._sign_in, "cache_clear", None)
        if forget is not None:
            forget()


def azure_clients() -> AzureClients:
    """The clients of this process. Another identity or proxy in the environment gets clients of its own."""
    return _shared(tuple(sorted(item for item in os.environ.items() if item[0].startswith(("AZURE_", "HTTPS_PROXY", "https_proxy")))))


@functools.lru_cache(maxsize=16)
def _shared(environment: tuple[tuple[str, str], ...]) -> AzureClients:
    return AzureClients()


__all__ = ["AzureClients", "azure_clients", "error_code", "error_kind"]
