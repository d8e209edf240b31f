"""Google Cloud clients of one project and region, with timeouts, retries and renewed credentials.

Endpoints can be replaced as with gcloud: CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM, _LOGGING, _COMPUTE and so on. An https:// endpoint of
Vertex AI is called over gRPC, the default of Google's clients. An http:// endpoint is called over REST.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from ...plain_data import PlainMapping
from ..errors import GpuyardError
from . import Json
from .gcp_credentials import default_credentials, principal_of
from .gcp_errors import client_errors, error_kind, translate_error

__all__ = ["GcpClients", "gcp_clients"]

T = TypeVar("T")
_Untyped: TypeAlias = Any  # an object of Google's libraries, which have no types

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT_S = 20.0  # timeout of one attempt: the client sets no deadline by itself
_GIVE_UP_S = 60.0
_RETRIED = {"throttled", "server", "lost", "unsent"}


class GcpClients:
    """Clients of one project and region, each created on its first use.

    `signed_in` (credentials) and `endpoints` ({service: URL}) replace the values from the environment.
    """

    def __init__(self, project: str, region: str, *, signed_in: _Untyped = None, endpoints: Mapping[str, str] | None = None) -> None:
        self.project, self.region = project, region
        self._signed_in, self._endpoints = signed_in, dict(endpoints or {})
        self._clients: dict[str, _Untyped] = {}
        self._lock = threading.Lock()  # threads may share a client, but must not create one at the same time

    def call(self, operation: str, request: PlainMapping, *, job_may_run: bool = False, single_attempt: bool = False) -> _Untyped:
        """Call an operation of Vertex AI's JobService, by its name in the client. Raises a GpuyardError whose cause is the client's error.

        It retries for a minute, because the client itself neither retries nor times out. `job_may_run`: a job may already be running, so
        expired credentials raise LostSightError instead of AuthError. `single_attempt`: do not retry a call that failed.
        """
        retry = None if single_attempt else _retry()

        def attempt() -> _Untyped:
            self._refresh_token()
            return getattr(self._client("aiplatform", self._job_service), operation)(request=request, retry=retry, timeout=_TIMEOUT_S)

        return self._renewing(attempt, f"call aiplatform {operation}", job_may_run)

    def post(self, method: str, body: PlainMapping) -> Json:
        """Call a read-only method of Cloud Logging's REST API, such as `entries:list`."""
        return self._rest("logging", f"v2/{method}", "POST", dict(body), job_may_run=True)

    def read(self, service: str, path: str, body: PlainMapping | None = None) -> Json:
        """Make a read-only request to a Google API. Example: `compute`, `compute/v1/projects/P/...`. A body makes it a POST."""
        return self._rest(service, path, "GET" if body is None else "POST", None if body is None else dict(body), job_may_run=False)

    @functools.cached_property
    def principal(self) -> str | None:
        """Return the service account, user or workload of this process's credentials; None if unknown."""
        with contextlib.suppress(GpuyardError):
            return self._renewing(self._principal, "sign in", job_may_run=False)
        return None

    def newest_image(self, project: str, family: str) -> str:
        """Return the newest machine image of a family, as projects/P/global/images/NAME."""
        found = self.read("compute", f"compute/v1/projects/{project}/global/images/family/{family}")
        return f"projects/{project}/global/images/{found['name']}"

    def _rest(self, service: str, path: str, verb: str, body: Json | None, *, job_may_run: bool) -> Json:
        def attempt() -> Json:
            from google.api_core import exceptions

            error_of: _Untyped = exceptions.from_http_response
            self._refresh_token()
            root = (self._endpoint(service) or f"https://{service}.googleapis.com").rstrip("/")
            answer = self._client(service, self._session).request(verb, f"{root}/{path}", json=body, timeout=_TIMEOUT_S)
            if answer.status_code != 200:
                raise error_of(answer)
            return dict(answer.json())

        return self._renewing(lambda: dict(_retry()(attempt)()), f"call {service} {path.partition('/')[2]}", job_may_run)

    def _renewing(self, attempt: Callable[[], T], action: str, job_may_run: bool) -> T:
        """Make a call. If the credentials have expired, retry once with new clients."""
        renewed = False
        while True:
            try:
                return attempt()
            except client_errors() as error:
                if error_kind(error) != "expired" or renewed:
                    raise translate_error(error, action, job_may_run=job_may_run) from error
            renewed = True  # the user or the pipeline may have renewed the credentials: new clients read them again
            with self._lock:  # the old clients stay open: other threads may be in the middle of a call
                self._clients = {}

    def _client(self, service: str, create: Callable[[], _Untyped]) -> _Untyped:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = create()
            return self._clients[service]

    def _job_service(self) -> _Untyped:
        """Create aiplatform_v1's JobServiceClient. It imports twice as fast as aiplatform.CustomJob, which uses the same client."""
        from google.api_core.client_options import ClientOptions
        from google.cloud.aiplatform_v1.services.job_service import JobServiceClient

        universe = os.environ.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "googleapis.com")
        endpoint = self._endpoint("aiplatform") or f"https://{self.region}-aiplatform.{universe}"
        parts = urlsplit(endpoint)
        transport, address = ("rest", endpoint.rstrip("/")) if parts.scheme == "http" else ("grpc", parts.netloc)
        options = ClientOptions(api_endpoint=address)
        return JobServiceClient(credentials=self._locked_credentials(), transport=transport, client_options=options)

    def _session(self) -> _Untyped:
        from google.auth.transport.requests import AuthorizedSession

        session: _Untyped = AuthorizedSession
        return session(self._locked_credentials())

    def _refresh_token(self) -> None:
        """Refresh an expired token before the call. If gRPC refreshed it, a failure would look like an unavailable service."""
        found = self._client("credentials", self._credentials)
        with self._lock:
            if not found.valid:
                import requests
                from google.auth.transport.requests import Request

                with requests.Session() as session:
                    found.refresh(Request(session))

    def _principal(self) -> str | None:
        self._refresh_token()
        return principal_of(self._client("credentials", self._credentials))

    def _locked_credentials(self) -> _Untyped:
        """Return the credentials. The caller holds the lock."""
        if "credentials" not in self._clients:
            self._clients["credentials"] = self._credentials()
        return self._clients["credentials"]

    def _credentials(self) -> _Untyped:
        return self._signed_in or default_credentials(_SCOPE)

    def _endpoint(self, service: str) -> str | None:
        return self._endpoints.get(service) or os.environ.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}")


def gcp_clients(project: str, region: str) -> GcpClients:
    """Return this process's clients of a region. They are replaced when the GOOGLE_* or CLOUDSDK_* variables change."""
    environment = sorted(item for item in os.environ.items() if item[0].startswith(("GOOGLE_", "CLOUDSDK_")))
    return _cached.setdefault((project, region, *environment), GcpClients(project, region))


_cached: dict[tuple[object, ...], GcpClients] = {}


@functools.cache
def _retry() -> _Untyped:
    """Return the retry policy of calls that are safe to repeat."""
    from google.api_core.retry import Retry

    return Retry(predicate=lambda error: error_kind(error) in _RETRIED, initial=0.5, maximum=8.0, multiplier=2.0, timeout=_GIVE_UP_S)
