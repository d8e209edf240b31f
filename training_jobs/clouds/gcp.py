"""What the GCP services share: clients, how long they are asked again, labels.

Endpoints are those of gcloud's own properties, CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM and _LOGGING: an https:// one is spoken
to over gRPC, as Google's clients do by default, an http:// one over REST.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ...problems import Problem
from ..errors import GpuyardError, UsageError
from ..run import Run
from .gcp_credentials import credentials
from .gcp_errors import client_errors, error_kind, translate_error

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT_S = 20.0  # of one try: the client has no deadline of its own
_GIVE_UP_S = 60.0
_AGAIN = {"throttled", "server", "lost", "unsent"}


class GcpClients:
    """Clients of one project and region, made when first used. Credentials and `endpoints` {service: URL} are injected by tests."""

    def __init__(self, project: str, region: str, *, signed_in: Any = None, endpoints: Mapping[str, str] | None = None) -> None:
        self.project, self.region = project, region
        self._given, self._endpoints = signed_in, dict(endpoints or {})
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()  # making a client is not safe between threads, using one is

    def call(self, operation: str, request: Mapping[str, Any], *, watching: bool = False, once: bool = False) -> Any:
        """One call of Vertex's JobService, named as its client names it. Raises a GpuyardError whose cause is the client's own.

        The client itself never tries again and waits for ever. `watching`: a job may be running already, so what ran out is only
        the sight of it. `once`: nothing is tried again here.
        """
        retry = None if once else _patience()

        def ask() -> Any:
            self._renew()
            return getattr(self._client("aiplatform", self._jobs), operation)(request=request, retry=retry, timeout=_TIMEOUT_S)

        return self._renewing(ask, f"call aiplatform {operation}", watching)

    def post(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One call of Cloud Logging's REST API: a method name such as entries:list; reading, so it may be repeated."""
        return self._rest("logging", f"v2/{url}", "POST", dict(body), watching=True)

    def newest_image(self, project: str, family: str) -> str:
        """The newest machine image of a family, as projects/P/global/images/NAME."""
        found = self._rest("compute", f"compute/v1/projects/{project}/global/images/family/{family}", "GET", None, watching=False)
        return f"projects/{project}/global/images/{found['name']}"

    def _rest(self, service: str, path: str, verb: str, body: Mapping[str, Any] | None, *, watching: bool) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            from google.api_core import exceptions

            refusal: Any = exceptions.from_http_response  # it has no types
            self._renew()
            root = (self._endpoint(service) or f"https://{service}.googleapis.com").rstrip("/")
            answer = self._client(service, self._session).request(verb, f"{root}/{path}", json=body, timeout=_TIMEOUT_S)
            if answer.status_code != 200:
                raise refusal(answer)
            return dict(answer.json())

        return dict(self._renewing(lambda: _patience()(ask)(), f"call {service} {path.partition('/')[2]}", watching))

    def _renewing(self, ask: Callable[[], Any], doing: str, watching: bool) -> Any:
        renewed = False
        while True:
            try:
                return ask()
            except client_errors() as error:
                if error_kind(error) != "expired" or renewed:
                    raise translate_error(error, doing, watching=watching) from error
            renewed = True  # whoever renews the credentials may have done so: new clients read them once more
            with self._making:  # nothing is closed: others may be in the middle of a call
                self._clients = {}

    def _client(self, service: str, make: Callable[[], Any]) -> Any:
        with self._making:
            if service not in self._clients:
                self._clients[service] = make()
            return self._clients[service]

    def _jobs(self) -> Any:
        """JobServiceClient of aiplatform_v1: what aiplatform.CustomJob itself calls, and half of its seconds of import."""
        from google.api_core.client_options import ClientOptions
        from google.cloud.aiplatform_v1.services.job_service import JobServiceClient

        universe = os.environ.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "googleapis.com")
        endpoint = self._endpoint("aiplatform") or f"https://{self.region}-aiplatform.{universe}"
        parts = urlsplit(endpoint)
        over = ("rest", endpoint.rstrip("/")) if parts.scheme == "http" else ("grpc", parts.netloc)
        return JobServiceClient(credentials=self._own(), transport=over[0], client_options=ClientOptions(api_endpoint=over[1]))

    def _session(self) -> Any:
        from google.auth.transport.requests import AuthorizedSession

        session: Any = AuthorizedSession
        return session(self._own())

    def _renew(self) -> None:
        """Renew a token that ran out here: inside gRPC, why that cannot be done becomes one more UNAVAILABLE."""
        found = self._client("credentials", self._found)
        with self._making:
            if not found.valid:
                import requests
                from google.auth.transport.requests import Request

                with requests.Session() as session:
                    found.refresh(Request(session))

    def _own(self) -> Any:
        """The credentials, while the lock is held."""
        if "credentials" not in self._clients:
            self._clients["credentials"] = self._found()
        return self._clients["credentials"]

    def _found(self) -> Any:
        return self._given or credentials(_SCOPE)

    def _endpoint(self, service: str) -> str | None:
        return self._endpoints.get(service) or os.environ.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}")


def gcp_clients(project: str, region: str) -> GcpClients:
    """The clients of this process for a region. Other credentials or endpoints in the environment get clients of their own."""
    found = sorted(item for item in os.environ.items() if item[0].startswith(("GOOGLE_", "CLOUDSDK_")))
    return _shared.setdefault((project, region, *found), GcpClients(project, region))


_shared: dict[tuple[object, ...], GcpClients] = {}


@functools.cache
def _patience() -> Any:
    """How reading calls, and those that may be made twice, are tried again."""
    from google.api_core.retry import Retry

    return Retry(predicate=lambda error: error_kind(error) in _AGAIN, initial=0.5, maximum=8.0, multiplier=2.0, timeout=_GIVE_UP_S)


def is_missing(error: GpuyardError) -> bool:
    """Whether the service knows no such thing."""
    return error_kind(error.__cause__) == "missing"


_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


def labels_of(run: Run) -> dict[str, str]:
    """The labels of everything that is made for a run: by these it is found again; and the job's own."""
    own = {
        "gpuyard_run": label(run.id),
        "gpuyard_submission": str(run.submission),
        "gpuyard_stack": label(run.target.stack),
        "gpuyard_pool": label(run.target.pool),
    }
    found = []
    for key, value in run.spec.labels.items():
        if key.startswith(("gpuyard_", "goog")):
            found.append(Problem(f"labels.{key}", "is set by gpuyard or Google", fix="rename it"))
        elif not (_KEY.fullmatch(key) and _VALUE.fullmatch(value)):
            allowed = "lower-case letters, digits, _ and -; 63 for each, the key begins with a letter"
            found.append(Problem(f"labels.{key}", "cannot be a label", f"{key}={value}", allowed))
    if len(run.spec.labels) > 64 - len(own):
        found.append(Problem("labels", "too many", str(len(run.spec.labels)), f"<= {64 - len(own)}"))
    if found:
        raise UsageError(f"job '{run.spec.name}' has labels that cannot be labels on GCP", found)
    return {**run.spec.labels, **own}


def label(text: str) -> str:
    """A text as the value of a label: what may not be there is a dash, and of what is too long the end stays, where the digest is."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[-63:].lstrip("-_")
