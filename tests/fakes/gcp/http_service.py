"""Base class of the GCP fakes that speak JSON over HTTP: a record of calls, scripted faults, bearer tokens checked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A scripted fault of one call. `status` and `reason`: returned instead of a call. `lost`: the call is made and its response never
    arrives.
    """

    status: int = 0
    reason: str = ""
    message: str = "scripted fault"
    lost: bool = False


@dataclass(frozen=True)
class Call:
    """One received request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """An error in the form of Google's JSON APIs."""

    def __init__(self, status: int, message: str, reason: str = "invalid") -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.message, self.reason = status, message, reason


def refusal(status: int, message: str, reason: str) -> Answer:
    """Return the error's body."""
    error = {"code": status, "message": message, "errors": [{"message": message, "domain": "global", "reason": reason}]}
    return answer({"error": error}, status)


def answer(body: Any, status: int = 200) -> Answer:
    """Return a JSON response."""
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


class FakeHttp(ThreadingHTTPServer):
    """Base of a service. The context manager's exit fails the test if the fake had a bug.

    `accepts`: function that returns whether a bearer token is valid.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.broken: list[str] = []
        self.lock = threading.RLock()
        self.fault: Callable[[Call], Fault | None] = lambda call: None
        self.accepts: Callable[[str | None], bool] = lambda token: True
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def fail(self, fault: Fault, *, when: Callable[[Call], bool] = lambda call: True, call: int = 1, times: int = 1) -> None:
        """Fail the next `call`-th matching call (1 = the next one), and the `times` - 1 calls after it."""
        matches = 0

        def matching_fault(received: Call) -> Fault | None:
            nonlocal matches
            if not when(received):
                return None
            matches += 1
            return fault if call <= matches < call + times else None

        self.fault = matching_fault

    def serve(self, call: Call) -> Answer:
        """Return the response to one call. Raises RefusalError."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        assert not self.broken, f"the fake {type(self).__name__} has a bug: {self.broken}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHttp
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self._body()
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        call = Call(self.command, parts.path, query, dict(self.headers.items()), body)
        with self.server.lock:
            self.server.calls.append(call)
            fault = self.server.fault(call)
        if fault and fault.status:
            self._send(refusal(fault.status, fault.message, fault.reason))
            return
        found = self._answered(call)
        if fault and fault.lost:
            self.close_connection = True
            return
        self._send(found)

    def _answered(self, call: Call) -> Answer:
        token = call.headers.get("Authorization", call.headers.get("authorization"))
        if not self.server.accepts(token.removeprefix("Bearer ") if token else None):
            return refusal(401, "Invalid Credentials", "authError")
        try:
            return self.server.serve(call)
        except RefusalError as refused:
            return refusal(refused.status, refused.message, refused.reason)
        except Exception as error:  # a bug of the fake: the test must fail, not retry
            self.server.broken.append(f"{call.method} {call.path}: {error!r}")
            return refusal(400, "broken fake", "broken")

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815 - the names http.server looks for

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _send(self, found: Answer) -> None:
        self.send_response(found.status)
        for name, value in found.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(found.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(found.body)
        self.wfile.flush()

    def log_message(self, *args: object) -> None:
        pass
