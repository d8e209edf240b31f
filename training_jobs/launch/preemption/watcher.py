"""Polls the cloud's metadata service in a thread and turns preemption notices into a stop request."""

from __future__ import annotations

import http.client
import ipaddress
import json
import sys
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from ..hook import BAD_CONFIG
from ..node_exit import NodeExitError
from .metadata import METADATA_SERVICES, MetadataService, Notice
from .stop_request import StopRequest

__all__ = ["MetadataWatcher", "make_watcher"]

_TIMEOUT_S = 2.0
_ACT_WITHIN_S = 3600.0
"""A node stops at most this many seconds before an event. A later event is only printed."""
_MAX_BYTES = 1 << 18
_TOKEN_TTL_S = 21600


class MetadataWatcher:
    """Polls one cloud's metadata service. Its errors are printed once and never end the job."""

    def __init__(self, service: MetadataService, url: str, act_on_warnings: bool, stop_request: StopRequest, node: int) -> None:
        self._service, self._url, self._stop_request, self._node = service, url, stop_request, node
        self._longest_pause_s = service.notice_s / 4  # so that at least three quarters of a notice are left
        self._warnings = frozenset() if act_on_warnings else service.warnings
        self._token: str | None = None
        self._machine_name: str | None = None
        self._printed: set[tuple[str, str]] = set()
        self._failures = 0
        self._obeyed_events: dict[str, None] = {}
        self._closed = threading.Event()

    @property
    def notice_s(self) -> float:
        """The usual seconds from an interruption notice of this cloud to the end of the machine."""
        return self._service.notice_s

    def start(self) -> None:
        """Start the polling thread."""
        threading.Thread(target=self._run, name="notices", daemon=True).start()

    def close(self) -> None:
        """Stop polling. Acknowledge the events that this node has obeyed, so that the cloud can stop the machine at once."""
        self._closed.set()
        for event in self._obeyed_events if self._service.acknowledge else ():
            body = json.dumps({"StartRequests": [{"EventId": event}]}).encode()
            try:
                self._call("POST", self._service.acknowledge or "", {**self._service.headers, "Content-Type": "application/json"}, body)
            except (OSError, http.client.HTTPException) as error:
                print(f"gpuyard: event {event} cannot be acknowledged: {error}", flush=True)

    def poll(self) -> float:
        """Poll every endpoint once. Returns the seconds until the next poll, which grow while the service fails."""
        problems = [problem for path in self._service.endpoints if (problem := self._poll_endpoint(path))]
        if problems and not self._failures:
            print(f"gpuyard: node {self._node}: cannot read preemption notices from {self._url}, retrying: {problems[0]}", flush=True)
        if not problems and self._failures:
            print(f"gpuyard: node {self._node}: {self._url} answers again", flush=True)
        self._failures = self._failures + 1 if problems else 0
        return float(min(self._service.poll_every_s * 2 ** min(self._failures, 10), self._longest_pause_s))

    def _run(self) -> None:
        wait_s = 0.0
        while not self._closed.wait(wait_s):
            try:
                wait_s = self.poll()
            except Exception as error:  # an error here must not end the job
                print(f"gpuyard: polling for preemption notices failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                wait_s = self._longest_pause_s

    def _poll_endpoint(self, path: str) -> str | None:
        try:
            body = self._get(path)
            notice = self._service.endpoints[path](body, time.time(), self._own_name()) if body is not None else None
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return f"{path}: unexpected response: {type(error).__name__}: {error}"
        if notice:
            self._handle(notice, path)
        return None

    def _handle(self, notice: Notice, path: str) -> None:
        notice_s = self._service.notice_s if notice.deadline_s is None else notice.deadline_s
        acts = notice.kind not in self._warnings and notice_s <= _ACT_WITHIN_S
        key = (notice.text, "obeyed" if acts else "printed")
        if key in self._printed:
            return
        self._printed.add(key)
        time_given = "no time given" if notice.deadline_s is None else f"{notice.deadline_s:.0f} s given"
        action = "requesting a stop" if acts else "the job continues"
        print(f"gpuyard: node {self._node}: {notice.kind}: {notice.text} ({time_given}; {self._url}{path}): {action}", flush=True)
        if acts:
            if notice.event:
                self._obeyed_events[notice.event] = None
            self._stop_request.request(notice_s)

    def _own_name(self) -> str:
        """Return this machine's name in the service's events. '' = unknown; then every event counts as an event of this machine."""
        if self._service.name and self._machine_name is None:
            try:
                self._machine_name = (self._get(self._service.name) or b"").decode("utf-8", "replace").strip()
            except (OSError, http.client.HTTPException):
                return ""
        return self._machine_name or ""

    def _get(self, path: str) -> bytes | None:
        """Return the body of a path; None if the service has no notice there now."""
        headers = dict(self._service.headers)
        for _ in range(2):
            if self._service.token:
                self._token = self._token or self._new_token(self._service.token)
                headers["X-aws-ec2-metadata-token"] = self._token
            status, body = self._call("GET", path, headers)
            if status != 401 or not self._service.token:
                break
            self._token = None  # expired: fetch a new one
        if status == 200:
            return body
        if status in (404, 410):
            return None
        raise OSError(f"{path} returned HTTP {status}")

    def _new_token(self, path: str) -> str:
        status, body = self._call("PUT", path, {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)})
        if status != 200:
            raise OSError(f"{path} returned HTTP {status}")
        return body.decode("ascii", "strict").strip()

    def _call(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> tuple[int, bytes]:
        """Send one request directly: http.client uses no proxies and follows no redirects."""
        connection = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read(_MAX_BYTES)
        finally:
            connection.close()


def make_watcher(env: Mapping[str, str], default: str, stop_request: StopRequest, node: int) -> MetadataWatcher | None:
    """Create the watcher that GPUYARD_NOTICE selects. `default`: the service's cloud or "off". Raises NodeExitError (64).

    GPUYARD_METADATA_URL is for tests. It must be a loopback address and needs GPUYARD_NOTICE. So a variable in an image cannot
    make a node obey another host.
    """
    name, warnings, url = env.get("GPUYARD_NOTICE", default), env.get("GPUYARD_NOTICE_WARNINGS", "log"), env.get("GPUYARD_METADATA_URL")
    if name not in (*METADATA_SERVICES, "off"):
        raise NodeExitError(BAD_CONFIG, f"GPUYARD_NOTICE: unknown value, got {name!r}, allowed: {', '.join((*METADATA_SERVICES, 'off'))}")
    if warnings not in ("log", "stop"):
        raise NodeExitError(BAD_CONFIG, f"GPUYARD_NOTICE_WARNINGS: unknown value, got {warnings!r}, allowed: log, stop")
    if url is not None and not ("GPUYARD_NOTICE" in env and _is_loopback(url)):
        fix = "unset it, or set http://127.0.0.1:<port> and GPUYARD_NOTICE"
        raise NodeExitError(BAD_CONFIG, f"GPUYARD_METADATA_URL: only for tests on this machine, got {url!r}; {fix}")
    return (
        None
        if name == "off"
        else MetadataWatcher(METADATA_SERVICES[name], url or METADATA_SERVICES[name].url, warnings == "stop", stop_request, node)
    )


def _is_loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        bare = parts.scheme == "http" and "@" not in parts.netloc and parts.path in ("", "/")
        return bare and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
