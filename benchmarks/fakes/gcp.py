"""Fake of Cloud Storage and Vertex AI for benchmarks: one process on 127.0.0.1.

`python -m benchmarks.fakes.gcp` prints its URL and serves until stdin closes. It checks no request and answers at once, so that a
benchmark measures the client alone.
"""

from __future__ import annotations

import base64
import itertools
import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

_OBJECTS: dict[str, tuple[bytes, int]] = {}
_CALLS: list[str] = []
_NUMBERS = itertools.count(1)
_MISSING = b'{"error": {"code": 404, "message": "No such object: runs/x"}}'
_CONFLICT = b'{"error": {"code": 412, "message": "conditionNotMet"}}'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for head and body

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        if self.path == "/calls":
            self._answer(200, json.dumps(_CALLS).encode())
            return
        parts = urlsplit(self.path)
        name = unquote(parts.path.split("/o/", 1)[-1])
        _CALLS.append(f"GET {name}")
        found = _OBJECTS.get(name)
        if found is None:
            self._answer(404, _MISSING)
        elif "alt=media" in parts.query:
            self._answer(200, found[0], {"X-Goog-Generation": str(found[1])})
        else:
            self._answer(200, _resource(name, *found))

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not parts.path.startswith("/upload/"):
            job = {**json.loads(raw), "name": f"projects/1/locations/us-central1/customJobs/{next(_NUMBERS)}", "state": "JOB_STATE_QUEUED"}
            _CALLS.append(f"CreateCustomJob {job['displayName']}")
            self._answer(200, json.dumps(job).encode())
            return
        _, first, second = raw.split(raw.split(b"\r\n", 1)[0], 2)
        name = json.loads(first.split(b"\r\n\r\n", 1)[1])["name"]
        _CALLS.append(f"POST {name}")
        expected = int(parse_qs(parts.query).get("ifGenerationMatch", ["-1"])[0])
        if expected not in (-1, _OBJECTS.get(name, (b"", 0))[1]):
            self._answer(412, _CONFLICT)
            return
        _OBJECTS[name] = second.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0], next(_NUMBERS)
        self._answer(200, _resource(name, *_OBJECTS[name]))

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _resource(name: str, data: bytes, generation: int) -> bytes:
    crc = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
    found: dict[str, Any] = {"name": name, "bucket": "runs", "generation": str(generation), "size": str(len(data)), "crc32c": crc}
    return json.dumps(found).encode()


def main() -> None:
    """Serve until stdin closes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
