"""A thread that asks the cloud's metadata service whether this machine is about to be taken, and passes a notice on."""

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
from ..node_exit import EndedError
from .metadata import CLOUDS, Cloud, Heard
from .stop_request import Notice

_TIMEOUT_S = 2.0
_ACT_WITHIN_S = 3600.0
"""An event further away is said at once and acted upon when it is this near."""
_LARGEST = 1 << 18
_TOKEN_TTL_S = 21600


class Watcher:
    """Watches one cloud. Whatever goes wrong here is said once and never ends the job."""

    def __init__(self, cloud: Cloud, url: str, act_on_warnings: bool, notice: Notice, node: int) -> None:
        self._cloud, self._url, self._notice, self._node = cloud, url, notice, node
        self._slowest_s = cloud.lead_s / 4  # however ill the service is, most of a notice is left
        self._warnings = frozenset() if act_on_warnings else cloud.warnings
        self._token: str | None = None
        self._me: str | None = None
        self._said: set[tuple[str, str]] = set()
        self._failures = 0
        self._acted: dict[str, None] = {}
        self._ended = threading.Event()

    @property
    def lead_s(self) -> float:
        """The seconds that this cloud's interruption notice usually gives."""
        return self._cloud.lead_s

    def start(self) -> None:
        """Watch from now on."""
        threading.Thread(target=self._run, name="notices", daemon=True).start()

    def close(self) -> None:
        """This node's work is over: stop watching, and let a cloud that waits for it have the machine."""
        self._ended.set()
        for event in self._acted if self._cloud.acknowledge else ():
            body = json.dumps({"StartRequests": [{"EventId": event}]}).encode()
            try:
                self._call("POST", self._cloud.acknowledge or "", {**self._cloud.headers, "Content-Type": "application/json"}, body)
            except (OSError, http.client.HTTPException) as error:
                print(f"gpuyard: event {event} could not be acknowledged: {error}", flush=True)

    def look(self) -> float:
        """Ask every endpoint once; the seconds until the next look, longer while the service fails."""
        problems = [problem for path in self._cloud.endpoints if (problem := self._look_at(path))]
        if problems and not self._failures:
            print(f"gpuyard: node {self._node}: no notices from {self._url} for now, asking on: {problems[0]}", flush=True)
        if not problems and self._failures:
            print(f"gpuyard: node {self._node}: {self._url} answers again", flush=True)
        self._failures = self._failures + 1 if problems else 0
        return float(min(self._cloud.every_s * 2 ** min(self._failures, 10), self._slowest_s))

    def _run(self) -> None:
        wait_s = 0.0
        while not self._ended.wait(wait_s):
            try:
                wait_s = self.look()
            except Exception as error:  # nothing that goes wrong here is worth a job
                print(f"gpuyard: the watch for notices failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                wait_s = self._slowest_s

    def _look_at(self, path: str) -> str | None:
        try:
            body = self._get(path)
            heard = self._cloud.endpoints[path](body, time.time(), self._name()) if body is not None else None
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return f"{path}: the answer is not understood: {type(error).__name__}: {error}"
        if heard:
            self._hear(heard, path)
        return None

    def _hear(self, heard: Heard, path: str) -> None:
        given_s = self._cloud.lead_s if heard.deadline_s is None else heard.deadline_s
        acts = heard.kind not in self._warnings and given_s <= _ACT_WITHIN_S
        key = (heard.text, "stop" if acts else "said")
        if key in self._said:
            return
        self._said.add(key)
        time_given = "no time is given" if heard.deadline_s is None else f"{heard.deadline_s:.0f} s are given"
        does = "asking the job to stop" if acts else "the job goes on"
        print(f"gpuyard: node {self._node}: {heard.kind}: {heard.text} ({time_given}; {self._url}{path}): {does}", flush=True)
        if acts:
            if heard.event:
                self._acted[heard.event] = None
            self._notice.ask(given_s)

    def _name(self) -> str:
        """This machine's name among the events; '' while it cannot be had: then every event counts as its own."""
        if self._cloud.name and self._me is None:
            try:
                self._me = (self._get(self._cloud.name) or b"").decode("utf-8", "replace").strip()
            except (OSError, http.client.HTTPException):
                return ""
        return self._me or ""

    def _get(self, path: str) -> bytes | None:
        """What a path holds; None where there is nothing (yet, or just now)."""
        headers = dict(self._cloud.headers)
        for _ in range(2):
            if self._cloud.token:
                self._token = self._token or self._new_token(self._cloud.token)
                headers["X-aws-ec2-metadata-token"] = self._token
            status, body = self._call("GET", path, headers)
            if status != 401 or not self._cloud.token:
                break
            self._token = None  # it expired
        if status == 200:
            return body
        if status in (404, 410):
            return None
        raise OSError(f"{path} answers {status}")

    def _new_token(self, path: str) -> str:
        status, body = self._call("PUT", path, {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)})
        if status != 200:
            raise OSError(f"{path} answers {status}")
        return body.decode("ascii", "strict").strip()

    def _call(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> tuple[int, bytes]:
        """One request, straight to the address: http.client knows no proxies and follows no redirects."""
        connection = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read(_LARGEST)
        finally:
            connection.close()


def watcher(env: Mapping[str, str], default: str, notice: Notice, node: int) -> Watcher | None:
    """The watcher that the environment asks for; `default` is the service's cloud or 'off'. Raises EndedError (64) for a wrong setting.

    GPUYARD_METADATA_URL, for tests, counts only beside an explicit GPUYARD_NOTICE and only on this machine's loopback:
    nothing that an image happens to set can have a node listen to somebody else.
    """
    name, warnings, url = env.get("GPUYARD_NOTICE", default), env.get("GPUYARD_NOTICE_WARNINGS", "log"), env.get("GPUYARD_METADATA_URL")
    if name not in (*CLOUDS, "off"):
        raise EndedError(BAD_CONFIG, f"GPUYARD_NOTICE: got {name!r}, allowed: {', '.join((*CLOUDS, 'off'))}")
    if warnings not in ("log", "stop"):
        raise EndedError(BAD_CONFIG, f"GPUYARD_NOTICE_WARNINGS: got {warnings!r}, allowed: log, stop")
    if url is not None and not ("GPUYARD_NOTICE" in env and _is_loopback(url)):
        fix = "unset it, or give http://127.0.0.1:<port> and name the cloud in GPUYARD_NOTICE"
        raise EndedError(BAD_CONFIG, f"GPUYARD_METADATA_URL is for tests on this machine: got {url!r}; {fix}")
    return None if name == "off" else Watcher(CLOUDS[name], url or CLOUDS[name].url, warnings == "stop", notice, node)


def _is_loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        bare = parts.scheme == "http" and "@" not in parts.netloc and parts.path in ("", "/")
        return bare and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
