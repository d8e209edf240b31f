"""Fakes of the metadata services of AWS, GCP and Azure: paths, headers, session tokens and failures."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AWS = "/latest/meta-data"
GCP = "/computeMetadata/v1/instance"
AZURE = "/metadata/scheduledevents?api-version=2020-07-01"
AZURE_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


class FakeMetadata(ThreadingHTTPServer):
    """The service of one cloud. `responses` maps a path to its value; other paths are 404."""

    daemon_threads = True

    def __init__(self, cloud: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cloud = cloud
        self.responses: dict[str, bytes] = {}
        self.failing: deque[int] = deque()  # the status of the next responses
        self.delay_s = 0.0
        self.tokens: set[str] = set()
        self.made_tokens = 0
        self.requests: list[str] = []
        self.acknowledged: list[str] = []
        if cloud == "gcp":
            self.responses = {f"{GCP}/preempted": b"FALSE", f"{GCP}/maintenance-event": b"NONE"}
        if cloud == "azure":
            self.responses = {AZURE: b'{"DocumentIncarnation":1,"Events":[]}', AZURE_NAME: b"node_1"}

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def refusal(self, method: str, path: str, headers: Message) -> int | None:
        """Return the status of a request that does not have the required form, or None."""
        if self.cloud == "aws" and method == "GET" and headers["X-aws-ec2-metadata-token"] not in self.tokens:
            return 401
        if self.cloud == "gcp" and headers["Metadata-Flavor"] != "Google":
            return 403
        if self.cloud == "azure" and (headers["Metadata"] != "true" or "api-version=" not in path):
            return 400
        return None


class _Handler(BaseHTTPRequestHandler):
    server: FakeMetadata

    def do_GET(self) -> None:
        refused = self._begin("GET")
        self._answer(refused or (200 if self.path in self.server.responses else 404), self.server.responses.get(self.path, b""))

    def do_PUT(self) -> None:
        ttl = self.headers["X-aws-ec2-metadata-token-ttl-seconds"] or ""
        if refused := self._begin("PUT"):
            self._answer(refused)
        elif self.path != "/latest/api/token" or not (ttl.isdigit() and 1 <= int(ttl) <= 21600):
            self._answer(400)
        else:
            self.server.made_tokens += 1
            token = f"token-{self.server.made_tokens}"
            self.server.tokens.add(token)
            self._answer(200, token.encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        refused = self._begin("POST") or (None if self.path == AZURE else 404)
        if not refused:
            self.server.acknowledged += [request["EventId"] for request in body["StartRequests"]]
        self._answer(refused or 200)

    def _begin(self, method: str) -> int | None:
        self.server.requests.append(f"{method} {self.path}")
        time.sleep(self.server.delay_s)
        if self.server.failing:
            return self.server.failing.popleft()
        return self.server.refusal(method, self.path, self.headers)

    def _answer(self, status: int, body: bytes = b"") -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if status == 200 else 0))
            self.end_headers()
            self.wfile.write(body if status == 200 else b"")
        except OSError:
            return  # the client stopped waiting

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def metadata(cloud: str) -> Iterator[FakeMetadata]:
    """Run the service of one cloud."""
    with FakeMetadata(cloud) as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()
