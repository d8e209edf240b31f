"""The two endpoints of the fake Vertex AI: gRPC with TLS, which the client uses by default, and REST. Both use the official messages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud.aiplatform_v1 import types
from google.protobuf import any_pb2, empty_pb2
from google.protobuf.json_format import ParseError
from google.rpc import error_details_pb2, status_pb2
from google.rpc.code_pb2 import Code
from grpc_status import rpc_status

from tests.fakes.gcp.certificates import certificate
from tests.fakes.gcp.http_service import Answer, Call, FakeHttp, answer

if TYPE_CHECKING:
    from tests.fakes.gcp.vertex import FakeVertex

_HTTP = {
    Code.INVALID_ARGUMENT: 400, Code.FAILED_PRECONDITION: 400, Code.UNAUTHENTICATED: 401, Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404, Code.RESOURCE_EXHAUSTED: 429, Code.CANCELLED: 499, Code.INTERNAL: 500, Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}  # fmt: skip
_REQUESTS: dict[str, Any] = {
    "CreateCustomJob": types.CreateCustomJobRequest, "GetCustomJob": types.GetCustomJobRequest,
    "ListCustomJobs": types.ListCustomJobsRequest, "CancelCustomJob": types.CancelCustomJobRequest,
}  # fmt: skip


class RefusalError(Exception):
    """An error of the service: its canonical code, and the reason of an ErrorInfo."""

    def __init__(self, code: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.reason = code, message, reason


@dataclass(frozen=True)
class Fault:
    """A scripted fault of one call. `code`: returned instead of a call. `lost`: the call is made and its response never arrives."""

    code: int = 0
    message: str = "scripted fault"
    reason: str = ""
    lost: bool = False


THROTTLED = Fault(Code.RESOURCE_EXHAUSTED, "Quota exceeded for 'Job submission requests' per minute", "RATE_LIMIT_EXCEEDED")
UNAVAILABLE = Fault(Code.UNAVAILABLE, "The service is currently unavailable.")
DENIED = Fault(Code.PERMISSION_DENIED, "Permission 'aiplatform.customJobs.create' denied on resource", "IAM_PERMISSION_DENIED")
EXPIRED = Fault(Code.UNAUTHENTICATED, "Request had invalid authentication credentials.", "ACCESS_TOKEN_EXPIRED")
QUOTA = Fault(
    Code.RESOURCE_EXHAUSTED,
    "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus",
)
LOST = Fault(lost=True)


class GrpcEndpoint:
    """gRPC with TLS on a port of 127.0.0.1."""

    def __init__(self, fake: FakeVertex) -> None:
        self._fake = fake
        key, pem, self.roots = certificate()
        self._pool = ThreadPoolExecutor(32)
        self._server = grpc.server(self._pool)
        handlers = {name: self._handler(name) for name in _REQUESTS}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("google.cloud.aiplatform.v1.JobService", handlers),))
        self._port = self._server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, pem)]))

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start to listen."""
        self._server.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.stop(0.2).wait()
        self._pool.shutdown()

    def _handler(self, operation: str) -> Any:
        def answer_(request: Any, context: Any) -> Any:
            headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
            try:
                if not re.search("parent=|name=", headers.get("x-goog-request-params", "")):
                    raise RefusalError(Code.INVALID_ARGUMENT, "the routing header is missing")
                found, fault = self._fake.take(operation, request, headers)
            except RefusalError as refused:
                context.abort_with_status(rpc_status.to_status(_status(refused)))
            except Exception as error:  # a bug of the fake
                self._fake.broken.append(f"{operation}: {error!r}")
                raise
            if fault and fault.lost:  # the client's error after its deadline
                context.abort_with_status(rpc_status.to_status(_status(RefusalError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"))))
            return found

        writes: Callable[[Any], bytes] = lambda message: (  # noqa: E731 an overload for the empty message
            empty_pb2.Empty().SerializeToString() if message is None else type(message).serialize(message)
        )
        return grpc.unary_unary_rpc_method_handler(answer_, _REQUESTS[operation].deserialize, writes)


class RestEndpoint(FakeHttp):
    """The same calls over HTTP and JSON."""

    def __init__(self, fake: FakeVertex) -> None:
        super().__init__()
        self._fake = fake

    def serve(self, call: Call) -> Answer:
        """Route a request to one of the four methods."""
        headers = {name.lower(): value for name, value in call.headers.items()}
        try:
            operation, request = _parsed(call)
            found, fault = self._fake.take(operation, request, headers)
        except RefusalError as refused:
            return _refusal(refused)
        except ParseError as error:
            return _refusal(RefusalError(Code.INVALID_ARGUMENT, f"Invalid JSON payload received. {error}"))
        if fault and fault.lost:
            return _refusal(RefusalError(Code.DEADLINE_EXCEEDED, "Deadline expired before operation could complete."))
        return answer(json.loads(type(found).to_json(found, use_integers_for_enums=False)) if found is not None else {})


def _parsed(call: Call) -> tuple[str, Any]:
    """Return the method of a request and its message. The message classes refuse unknown members."""
    jobs = re.fullmatch(r"/v1/(projects/[^/]+/locations/[^/]+)/customJobs", call.path)
    one = re.fullmatch(r"/v1/(projects/[^/]+/locations/[^/]+/customJobs/[^/:]+)(:cancel)?", call.path)
    if jobs and call.method == "POST":
        return "CreateCustomJob", types.CreateCustomJobRequest(parent=jobs[1], custom_job=types.CustomJob.from_json(call.body))
    if jobs and call.method == "GET":
        parameters = {"filter": call.query.get("filter", ""), "page_token": call.query.get("pageToken", "")}
        return "ListCustomJobs", types.ListCustomJobsRequest(parent=jobs[1], page_size=int(call.query.get("pageSize", 0)), **parameters)
    if one and call.method == "POST" and one[2]:
        return "CancelCustomJob", types.CancelCustomJobRequest(name=one[1])
    if one and call.method == "GET":
        return "GetCustomJob", types.GetCustomJobRequest(name=one[1])
    raise RefusalError(Code.NOT_FOUND, f"this fake has no {call.method} {call.path}")


def _status(refused: RefusalError) -> Any:
    found = status_pb2.Status(code=refused.code, message=refused.message)
    if refused.reason:
        info = any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason=refused.reason, domain="googleapis.com"))
        found.details.append(info)
    return found


def _refusal(refused: RefusalError) -> Answer:
    error: Mapping[str, Any] = {"code": _HTTP[refused.code], "message": refused.message, "status": Code.Name(refused.code)}
    kind = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refused.reason, "domain": "googleapis.com"}
    return answer({"error": {**error, "details": [kind] if refused.reason else []}}, _HTTP[refused.code])
