"""Fake of S3, AWS Batch and SageMaker for benchmarks: one process on 127.0.0.1.

`python -m benchmarks.fakes.aws` prints its URL and serves until stdin closes. It checks no request and answers at once, so that a
benchmark measures the client alone.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_OBJECTS: dict[str, tuple[bytes, str]] = {}
_CALLS: list[str] = []
_NUMBERS = itertools.count()
_MISSING = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
_CONFLICT = b"<?xml version='1.0'?><Error><Code>PreconditionFailed</Code><Message>no</Message></Error>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for head and body

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle_expect_100(self) -> bool:
        """Flush the interim response: the client waits a second for it."""
        goes_on = super().handle_expect_100()
        self.wfile.flush()
        return goes_on

    def do_GET(self) -> None:
        if self.path == "/calls":
            self._answer(200, json.dumps(_CALLS).encode())
            return
        _CALLS.append(f"GET {self.path}")
        found = _OBJECTS.get(self.path)
        self._answer(200, found[0], found[1]) if found else self._answer(404, _MISSING)

    def do_HEAD(self) -> None:
        _CALLS.append(f"HEAD {self.path}")
        found = _OBJECTS.get(self.path)
        self._answer(200, b"", found[1]) if found else self._answer(404, b"")

    def do_PUT(self) -> None:
        _CALLS.append(f"PUT {self.path}")
        body = self._body()
        stored = _OBJECTS.get(self.path)
        expected = self.headers.get("If-Match")
        if (stored and self.headers.get("If-None-Match")) or (expected and (stored is None or stored[1] != expected)):
            self._answer(412, _CONFLICT)
            return
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        _OBJECTS[self.path] = body, etag
        self._answer(200, b"", etag)

    def do_POST(self) -> None:
        operation = (self.headers.get("X-Amz-Target") or self.path).rsplit("/", 1)[-1].removeprefix("SageMaker.").lower()
        _CALLS.append(operation)
        body = json.loads(self._body() or b"{}")
        self._answer(200, json.dumps(_response(operation, body)).encode())

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Content-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        size, _, rest = raw.partition(b"\r\n")
        return rest[: int(size.split(b";")[0], 16)]

    def _answer(self, status: int, body: bytes, etag: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _response(operation: str, body: dict[str, Any]) -> dict[str, Any]:
    if operation == "submitjob":
        return {"jobName": body["jobName"], "jobId": f"00000000-0000-4000-8000-{next(_NUMBERS):012}"}
    if operation == "createtrainingjob":
        return {"TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{body['TrainingJobName']}"}
    if operation == "describejobqueues":
        return {"jobQueues": [{"jobQueueName": "q", "state": "ENABLED", "status": "VALID", "priority": 1, "computeEnvironmentOrder": []}]}
    if operation == "describejobs":
        job = {"jobName": "j", "jobQueue": "q", "status": "RUNNABLE", "startedAt": 0}
        return {"jobs": [{"jobId": each, **job} for each in list(body["jobs"])]}
    return {}


def main() -> None:
    """Serve until stdin closes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
