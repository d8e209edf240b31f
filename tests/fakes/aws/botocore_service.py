"""Base class of the AWS fakes: an HTTP service on 127.0.0.1 whose routes, checks, responses and errors come from botocore's model.

A fake subclasses `FakeService` and has one method for each operation, named as boto3 names it::

    class FakeQueue(FakeService):
        name = "sqs"                                     # the service's name in boto3
        def create_queue(self, body): ...                # gets the parsed input; returns the output or raises RefusalError

    with FakeQueue() as fake:                            # listens; fake.url goes into AWS_ENDPOINT_URL_*
        fake.fail("CreateQueue", THROTTLED, call=2)      # the second call of that operation fails

The model checks a request (types, required and unknown members, enums, patterns, lengths) before the method is called. It checks the
response in the same way, except for required members, so that no fake can return what the service could not.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, unquote, urlsplit

from botocore import session, xform_name
from botocore.model import OperationModel, ServiceModel
from botocore.validate import ParamValidator

from tests.fakes.aws.botocore_shapes import broken_constraints, parse, serialise

Body = dict[str, Any]
_COMMON = {
    "ThrottlingException": 400, "TooManyRequestsException": 429, "AccessDeniedException": 403, "ExpiredTokenException": 403,
    "UnrecognizedClientException": 403, "ValidationException": 400, "InternalFailure": 500, "ServiceUnavailable": 503,
}  # fmt: skip
"""Errors that every AWS service can return, even if its model does not list them -> their HTTP statuses."""


class RefusalError(Exception):
    """An error of the service, with its code in the model."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@dataclass(frozen=True)
class Fault:
    """A scripted fault of one call. `refusal`: returned instead of a call. `lost`: the call is made and its response never arrives."""

    refusal: RefusalError | None = None
    lost: bool = False
    delay_s: float = 0.0


THROTTLED = Fault(RefusalError("ThrottlingException", "Rate exceeded"))
UNAVAILABLE = Fault(RefusalError("ServiceUnavailable", "try again"))
DENIED = Fault(RefusalError("AccessDeniedException", "User: arn:aws:iam::123456789012:user/x is not authorized to perform this"))
EXPIRED = Fault(RefusalError("ExpiredTokenException", "The security token included in the request is expired"))
LOST = Fault(lost=True)


@dataclass(frozen=True)
class Call:
    """One received call: the parsed body, the raw body, and the headers."""

    operation: str
    body: Body
    raw: bytes
    headers: Mapping[str, str]
    at: float = field(default_factory=time.time)


class FakeService(ThreadingHTTPServer):
    """The base of a fake service, for one region and account.

    It is a context manager, whose exit fails the test if the fake itself had a bug.
    """

    name: ClassVar[str]
    region = "us-east-1"
    account = "123456789012"
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.model = ServiceModel(session.get_session().get_component("data_loader").load_service_model(self.name, "service-2"))
        self._routes = [_Route(self.model.operation_model(name)) for name in self.model.operation_names]
        self.calls: list[Call] = []
        self.broken: list[str] = []
        self.lock = threading.RLock()
        self._faults: dict[tuple[str, int], Fault] = {}
        self._counts: dict[str, int] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def fail(self, operation: str, fault: Fault, *, call: int = 1, times: int = 1) -> None:
        """Fail the next `call`-th call of an operation (1 = the next one), and the `times` - 1 calls after it."""
        with self.lock:
            first = self._counts.get(operation, 0) + call
            self._faults |= {(operation, first + later): fault for later in range(times)}

    def count(self, operation: str) -> int:
        """Return the number of calls of an operation."""
        with self.lock:
            return self._counts.get(operation, 0)

    def arn(self, rest: str) -> str:
        """Return an ARN of this service, region and account."""
        return f"arn:aws:{self.name}:{self.region}:{self.account}:{rest}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        assert not self.broken, f"the fake {self.name} has a bug: {self.broken}"

    def answer(self, call: Call, operation: OperationModel) -> tuple[int, bytes, str | None]:
        """Return status, body and error code of one call."""
        try:
            if problem := _input_problem(call.body, operation):
                raise RefusalError(_validation_code(operation), problem)
            method = getattr(self, xform_name(operation.name), None)
            if method is None:
                raise RefusalError("InternalFailure", f"this fake has no {operation.name}")
            output = method(call.body) or {}
            return 200, serialise(output, operation.output_shape), None
        except RefusalError as refused:
            shapes = {shape.name: shape for shape in self.model.error_shapes}
            known = shapes[refused.code].metadata.get("error", {}).get("httpStatusCode", 400) if refused.code in shapes else None
            status = known or _COMMON[refused.code]
            return status, json.dumps({"__type": refused.code, "message": refused.message}).encode(), refused.code

    def take(self, call: Call) -> Fault | None:
        """Record a call and return its scripted fault."""
        with self.lock:
            self.calls.append(call)
            number = self._counts[call.operation] = self._counts.get(call.operation, 0) + 1
            return self._faults.pop((call.operation, number), None)

    def find(self, method: str, path: str, target: str | None) -> tuple[OperationModel, dict[str, str]] | None:
        """Return the operation of a request and the parameters in its path."""
        for route in self._routes:
            found = route.match(method, path, target)
            if found is not None:
                return route.operation, found
        return None


class _Route:
    """The HTTP binding of one operation: a path template (rest-json), or the header X-Amz-Target (json)."""

    def __init__(self, operation: OperationModel) -> None:
        self.operation = operation
        self._method = operation.http["method"]
        prefix = operation.service_model.metadata.get("targetPrefix")
        self._target = f"{prefix}.{operation.name}" if prefix else None
        template = re.escape(operation.http["requestUri"].split("?")[0])
        self._path = re.compile(re.sub(r"\\{(\w+)(\\\+)?\\}", lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})", template))

    def match(self, method: str, path: str, target: str | None) -> dict[str, str] | None:
        if method != self._method or (self._target is not None and target != self._target):
            return None
        found = self._path.fullmatch(path)
        return {name: unquote(text) for name, text in found.groupdict().items()} if found else None


def _input_problem(body: Body, operation: OperationModel) -> str | None:
    if operation.input_shape is None:
        return None
    report = ParamValidator().validate(body, operation.input_shape)
    if report.has_errors():
        return str(report.generate_report())
    return "; ".join(broken_constraints(body, operation.input_shape)) or None


def _validation_code(operation: OperationModel) -> str:
    """Return the error code for a body that the model refuses: the service's own code for client errors, if it has one."""
    names = [shape.name for shape in operation.error_shapes]
    return next((name for name in ("ClientException", "InvalidParameterException") if name in names), "ValidationException")


class _Handler(BaseHTTPRequestHandler):
    server: FakeService
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        found = self.server.find(self.command, parts.path, self.headers.get("X-Amz-Target"))
        if found is None:
            self._send(404, b'{"__type": "UnknownOperationException"}', "UnknownOperationException")
            return
        operation, in_path = found
        try:
            sent = json.loads(raw or b"{}")
            body = parse(sent, operation.input_shape, in_path, parse_qs(parts.query), dict(self.headers)) if operation.input_shape else {}
            call = Call(operation.name, body, raw, dict(self.headers.items()))
            fault = self.server.take(call)
            if fault and fault.delay_s:
                time.sleep(fault.delay_s)
            if fault and fault.refusal:
                status = _COMMON.get(fault.refusal.code, 400)
                self._send(
                    status, json.dumps({"__type": fault.refusal.code, "message": fault.refusal.message}).encode(), fault.refusal.code
                )
                return
            answer = self.server.answer(call, operation)
        except Exception as error:  # a bug of the fake: the test must fail, not retry
            self.server.broken.append(f"{operation.name}: {error!r}")
            answer, fault = (400, b'{"__type": "BrokenFake"}', "BrokenFake"), None
        if fault and fault.lost:
            self.close_connection = True
            return
        self._send(*answer)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names http.server looks for

    def _send(self, status: int, body: bytes, error: str | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("x-amzn-errortype", error)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass
