"""Base class of the Azure fakes: an HTTPS service on 127.0.0.1 with a table of routes, scripted faults and a record of calls."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.azure.certificates import certificate

Body = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """An error of the service in Azure's JSON envelope."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.answer = Answer(status, {"error": {"code": code, "message": message}}, headers or {})


@dataclass(frozen=True)
class Fault:
    """A scripted fault of one call. `refusal`: returned instead of a call. `lost`: the call is made and its response never arrives."""

    refusal: RefusalError | None = None
    lost: bool = False


THROTTLED = Fault(RefusalError(429, "TooManyRequests", "The request is being throttled.", {"Retry-After": "0"}))
UNAVAILABLE = Fault(RefusalError(503, "ServiceUnavailable", "try again"))
DENIED = Fault(RefusalError(403, "AuthorizationFailed", "The client '0' does not have authorization to perform action 'jobs/write'"))
EXPIRED = Fault(RefusalError(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time"))
LOST = Fault(lost=True)


@dataclass(frozen=True)
class Call:
    """One received call."""

    operation: str
    path: str
    query: dict[str, str]
    body: Any
    raw: bytes
    headers: Mapping[str, str]
    at: float = field(default_factory=time.time)


Method = Callable[..., Answer]


class FakeHttps(ThreadingHTTPServer):
    """Base of a service. Subclasses set `routes`: (operation, verb, regular expression of host and path).

    The method named like the operation gets the call and the groups of the expression. The context manager's exit fails the test if the
    fake itself had a bug.
    """

    routes: tuple[tuple[str, str, str], ...] = ()
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.broken: list[str] = []
        self.lock = threading.RLock()
        self._faults: dict[tuple[str, int], Fault] = {}
        self._counts: dict[str, int] = {}
        super().__init__(("127.0.0.1", 0), _Handler)
        self._context = certificate().context()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection. The handler's thread does the TLS handshake."""
        connection, address = self.socket.accept()
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect or do not trust the certificate."""

    def fail(self, operation: str, fault: Fault, *, call: int = 1, times: int = 1) -> None:
        """Fail the next `call`-th call of an operation (1 = the next one), and the `times` - 1 calls after it."""
        with self.lock:
            first = self._counts.get(operation, 0) + call
            self._faults |= {(operation, first + later): fault for later in range(times)}

    def clear_faults(self) -> None:
        """Remove all scripted faults."""
        with self.lock:
            self._faults.clear()

    def count(self, operation: str) -> int:
        """Return the number of calls of an operation."""
        with self.lock:
            return self._counts.get(operation, 0)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        assert not self.broken, f"the fake has a bug: {self.broken}"

    def admit(self, call: Call) -> None:
        """Raise RefusalError for an unauthorised caller."""

    def serve(self, verb: str, host: str, target: str, headers: Mapping[str, str], raw: bytes) -> Answer | None:
        """Return the response to one call, or None when it never arrives."""
        parts = urlsplit(target)
        matches = (
            (operation, re.fullmatch(expression, host + unquote(parts.path), re.IGNORECASE))
            for operation, wanted, expression in self.routes
            if verb == wanted
        )
        operation, found = next((each for each in matches if each[1]), ("", None))
        if found is None:
            return Answer(404, {"error": {"code": "NotFound", "message": f"this fake has no {verb} {host}{parts.path}"}})
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = json.loads(raw) if raw and "json" in headers.get("Content-Type", "json") else None
        call = Call(operation, parts.path, query, body, raw, headers)
        with self.lock:
            self.calls.append(call)
            number = self._counts[operation] = self._counts.get(operation, 0) + 1
            fault = self._faults.pop((operation, number), None)
        try:
            if fault and fault.refusal:
                raise fault.refusal
            self.admit(call)
            answer: Answer = getattr(self, operation)(call, **found.groupdict())
        except RefusalError as refused:
            return refused.answer
        return None if fault and fault.lost else answer


class _Handler(BaseHTTPRequestHandler):
    server: FakeHttps
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        self.request.do_handshake()
        super().setup()

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host = (self.headers.get("Host") or "").partition(":")[0]
        try:
            answer = self.server.serve(self.command, host, self.path, self.headers, raw)  # type: ignore[arg-type]
        except Exception as error:  # a bug of the fake: the test must fail, not retry
            self.server.broken.append(f"{self.command} {self.path}: {error!r}")
            answer = Answer(400, {"error": {"code": "BrokenFake", "message": repr(error)}})
        if answer is None:
            self.close_connection = True
            return
        data = answer.body if isinstance(answer.body, bytes) else b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _serve  # noqa: N815 - the names http.server looks for

    def log_message(self, *args: object) -> None:
        pass
