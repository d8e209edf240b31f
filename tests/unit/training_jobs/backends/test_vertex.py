"""Vertex AI: rules of the fake, log reading, error kinds, credentials and endpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions as api_core
from google.auth import credentials
from google.auth import exceptions as google_auth
from google.cloud.aiplatform_v1 import types

from gpuyard.training_jobs.backends.vertex import VertexBackend
from gpuyard.training_jobs.backends.vertex.logs import LogReader
from gpuyard.training_jobs.clouds.gcp import GcpClients
from gpuyard.training_jobs.clouds.gcp_errors import error_kind, translate_error
from gpuyard.training_jobs.errors import AuthError, CapacityError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError
from gpuyard.training_jobs.run import Code, Run
from gpuyard.training_jobs.state import State
from gpuyard.training_jobs.target import VertexTarget
from tests.fakes.gcp.cloud_logging import FakeLogging
from tests.fakes.gcp.http_service import Fault
from tests.helpers.local_pool import job
from tests.helpers.vertex_pool import Yard, make_target, yard

api: Any = api_core  # neither has types for its classes
auth: Any = google_auth


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, program="print('runs')", grace_s=2) as found:
        yield found


def custom_job(**changes: Any) -> dict[str, Any]:
    """Return the smallest valid CustomJob, with changes at the named paths (parts joined by `__`)."""
    found: dict[str, Any] = {
        "display_name": "j",
        "job_spec": {
            "worker_pool_specs": [
                {
                    "machine_spec": {"machine_type": "g2-standard-4", "accelerator_type": "NVIDIA_L4", "accelerator_count": 1},
                    "replica_count": 1,
                    "container_spec": {"image_uri": "us-docker.pkg.dev/acme/train/x", "command": ["python3", "-c", "print(1)"]},
                }
            ]
        },
    }
    for path, value in changes.items():
        place: Any = found
        *before, last = path.split("__")
        for name in before:
            place = place[int(name)] if name.isdigit() else place.setdefault(name, {})
        place[last] = value
    return found


RESERVED = {"reservation_affinity_type": "SPECIFIC_RESERVATION", "key": "compute.googleapis.com/reservation-name",
            "values": ["projects/p/zones/z/reservations/r"]}  # fmt: skip
POOL, SCHEDULING = "job_spec__worker_pool_specs__0__", "job_spec__scheduling__"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({f"{POOL}replica_count": 2}, "must be 1: the primary replica"),
        ({"labels": {"Team": "x"}}, "lower-case letters"),
        ({f"{POOL}machine_spec__reservation_affinity": RESERVED, f"{SCHEDULING}strategy": "FLEX_START"}, "cannot be combined"),
        ({f"{POOL}machine_spec__reservation_affinity": {**RESERVED, "values": ["r"]}}, "its full resource name"),
        ({"job_spec__persistent_resource_id": "x", f"{SCHEDULING}strategy": "SPOT"}, "machines of its own"),
        ({f"{SCHEDULING}max_wait_duration": "60s"}, "max_wait_duration is for FLEX_START"),
        ({f"{POOL}machine_spec__accelerator_count": 0}, "go together"),
        ({f"{POOL}container_spec__image_uri": "quay.io/a/b@sha256:x"}, "Artifact Registry"),
        ({f"{POOL}container_spec__command": ["$(HOME)"]}, "a variable would be put"),
        ({"job_spec__service_account": "me@example.com"}, "no service account"),
        ({"job_spec__network": "n", "job_spec__psc_interface_config": {"network_attachment": "a"}}, "exclude each other"),
        ({"job_spec__base_output_directory": {"output_uri_prefix": "s3://x"}}, "must be on Cloud Storage"),
        ({"name": "mine"}, "output-only"),
    ],
)
def test_the_fake_enforces_the_documented_rules(service: Yard, changes: dict[str, Any], expected: str) -> None:
    from google.cloud.aiplatform_v1.types import CustomJob
    from google.protobuf.json_format import ParseDict

    message = CustomJob()
    ParseDict(custom_job(**changes), CustomJob.pb(message))
    clients = GcpClients("acme-ml", "us-central1")
    with pytest.raises(UsageError, match=expected):
        clients.call("create_custom_job", {"parent": "projects/acme-ml/locations/us-central1", "custom_job": message})
    assert service.vertex.jobs == {}
    clients._clients["aiplatform"].transport.close()


@pytest.fixture
def backend(service: Yard) -> VertexBackend:
    target = make_target()
    assert isinstance(target, VertexTarget)
    return VertexBackend(target, sleep=lambda _: None)


def test_a_missing_job_is_unknown_has_no_logs_and_needs_no_cancel(service: Yard, backend: VertexBackend) -> None:
    name = "projects/1/locations/us-central1/customJobs/7"
    assert backend.status(name).state is State.UNKNOWN
    assert list(backend.logs(name, node=None, since=None, follow=True)) == []
    backend.cancel(name, Run("job-0123456789ab", 0, 1, job(), make_target(), Code("d" * 64, ""), 60, "timeout"))
    assert service.vertex.count("CancelCustomJob") == 0


def test_a_job_of_another_bucket_with_the_same_labels_is_not_adopted(service: Yard) -> None:
    run = service.runner().submit(job(), None, key="k").status.run_id
    assert service.runner().wait(run).state is State.SUCCEEDED
    service.storage.buckets["other"] = {}
    again = service.runner(run_bucket="gs://other").submit(job(), None, key="k")
    assert (again.created, again.status.run_id, len(service.vertex.jobs)) == (True, run, 2)


def read_lines(logs: FakeLogging, *, node: int | None = None, since: float = 1000.0, view: str | None = None) -> list[tuple[int, str]]:
    clients = GcpClients("acme-ml", "us-central1", endpoints={"logging": logs.url})
    try:
        reader = LogReader(clients.post, "acme-ml", "7", node=node, since=since, view=view)
        found = list(reader.lines(False, lambda: True, lambda: None))
        return [(line.node, line.text) for line in found]
    finally:
        clients._clients["logging"].close()


def test_old_lines_are_read_in_order_without_vertex_ais_own_lines(service: Yard) -> None:
    """Cloud Logging searches only the last day when a filter has no time."""
    for number, (task, at) in enumerate([("workerpool1-0", 1003), ("workerpool0-0", 1001), ("service", 1002), ("workerpool1-1", 1004)]):
        service.logs.write("7", task, f"line {number}", at=at)
    service.logs.write("8", "workerpool0-0", "of another job", at=1001)
    assert read_lines(service.logs) == [(0, "line 1"), (1, "line 0"), (2, "line 3")]
    assert read_lines(service.logs, node=2) == [(2, "line 3")]
    assert read_lines(service.logs, since=1003) == [(1, "line 0"), (2, "line 3")]
    assert '"filter": "' in service.logs.calls[-1].body.decode()
    assert "timestamp>=" in service.logs.calls[-1].body.decode()


def test_a_submitter_reads_the_view_and_others_read_the_project(service: Yard) -> None:
    view, project = "projects/acme-ml/locations/global/buckets/_Default/views/jobs", "projects/acme-ml"
    service.logs.write("7", "workerpool0-0", "hello", at=1001)
    for refused in (project, view):
        service.logs.refused = {refused}
        assert read_lines(service.logs, view=view) == [(0, "hello")]
    service.logs.refused = {project, view}
    with pytest.raises(AuthError, match=project):
        read_lines(service.logs, view=view)


def test_a_late_line_of_another_node_is_not_lost_while_following(service: Yard) -> None:
    now = time.time()
    service.logs.write("7", "workerpool0-0", "first", at=now)
    late = iter([True])

    def pause() -> None:
        if next(late, False):
            service.logs.write("7", "workerpool1-0", "late", at=now - 5)

    clients = GcpClients("acme-ml", "us-central1")
    ends = iter([False, False, True, True, True, True])
    reader = LogReader(clients.post, "acme-ml", "7", node=None, since=now - 60)
    found = reader.lines(True, lambda: next(ends), pause)
    assert [(line.node, line.text) for line in found] == [(0, "first"), (1, "late")]
    clients._clients["logging"].close()


def test_log_reads_are_retried_and_a_lasting_denial_is_an_auth_error(service: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("google.api_core.retry.retry_unary.time.sleep", lambda _: None)
    service.logs.write("7", "workerpool0-0", "first", at=1001)
    service.logs.fail(Fault(503, "unavailable"), times=3)
    assert read_lines(service.logs) == [(0, "first")]
    service.logs.fail(Fault(403, "forbidden", "Permission denied for all log views"), times=100)
    with pytest.raises(AuthError, match="not permitted"):
        read_lines(service.logs)


@pytest.mark.parametrize(
    ("error", "kind", "error_type"),
    [
        (api.ResourceExhausted("The following quota metrics exceed quota limits: x"), "quota", QuotaError),
        (api.ResourceExhausted("Quota exceeded for quota metric 'Job submission requests' ... per minute per region"), "throttled",
         LostSightError),
        (api.ResourceExhausted("Resources are insufficient in region: us-central1."), "capacity", CapacityError),
        (api.Forbidden("x", errors=[{"reason": "rateLimitExceeded"}]), "throttled", LostSightError),
        (api.PermissionDenied("no"), "denied", AuthError),
        (api.Unauthenticated("no"), "expired", AuthError),
        (api.ServiceUnavailable("no"), "server", LostSightError),
        (api.DeadlineExceeded("no"), "lost", LostSightError),
        (api.InternalServerError("no"), "lost", LostSightError),
        (api.Aborted("no"), "server", LostSightError),
        (api.InvalidArgument("no"), "other", UsageError),
        (api.NotFound("no"), "missing", NotFoundError),
        (auth.RefreshError("invalid_grant"), "expired", AuthError),
        (auth.TransportError("no route"), "unsent", LostSightError),
        (auth.DefaultCredentialsError("none"), "denied", AuthError),
        (ConnectionError("reset"), "lost", LostSightError),
        (api.RetryError("gave up", api.PermissionDenied("no")), "denied", AuthError),
        (api.RetryError("gave up", None), "lost", LostSightError),
        (ValueError("x"), "other", UsageError),
    ],
)  # fmt: skip
def test_an_error_gets_its_kind_and_its_class(error: BaseException, kind: str, error_type: type[GpuyardError]) -> None:
    assert error_kind(error) == kind
    assert type(translate_error(error, "do it")) is error_type
    watching = translate_error(error, "do it", job_may_run=True)
    assert isinstance(watching, LostSightError if kind == "expired" or error_type is LostSightError else error_type | LostSightError)


def test_an_error_shows_no_signature_and_no_token() -> None:
    error = api.Forbidden("GET https://storage.googleapis.com/x?X-Goog-Signature=abc: no")
    assert "abc" not in str(translate_error(error, "read"))
    refused = auth.RefreshError("invalid_grant: Bad Request", {"refresh_token": "1//secret"})
    assert "secret" not in str(translate_error(refused, "read"))


def test_an_endpoints_scheme_decides_between_rest_and_grpc(service: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, transport in (("http://127.0.0.1:1/", "rest"), ("https://127.0.0.1:1/", "grpc")):
        clients = GcpClients("acme-ml", "europe-west4", endpoints={"aiplatform": url})
        made = clients._client("aiplatform", clients._job_service)
        assert made.transport.kind == transport
        assert "127.0.0.1:1" in made.transport.host
        made.transport.close()
    monkeypatch.delenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM")
    clients = GcpClients("acme-ml", "europe-west4")
    made = clients._client("aiplatform", clients._job_service)
    assert made.transport.host == "europe-west4-aiplatform.googleapis.com:443"
    made.transport.close()


def test_googles_own_sdk_works_with_the_fake(service: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """aiplatform.CustomJob over REST creates, and lists, what the fake stores."""
    from google.cloud import aiplatform

    service.vertex.accepts = lambda token: True
    anonymous: Any = credentials.AnonymousCredentials
    aiplatform.init(
        project="acme-ml", location="us-central1", credentials=anonymous(), api_endpoint=service.vertex.rest.url, api_transport="rest"
    )
    spec = custom_job()["job_spec"]["worker_pool_specs"]
    made = aiplatform.CustomJob("sdk", spec, staging_bucket="gs://runs", labels={"gpuyard_run": "x"})
    made.submit(timeout=600, scheduling_strategy=types.Scheduling.Strategy.SPOT)
    (kept,) = service.vertex.jobs.values()
    assert kept.message.display_name == "sdk"
    assert kept.message.job_spec.scheduling.strategy.name == "SPOT"
    found = aiplatform.CustomJob.list(filter='labels.gpuyard_run="x"')
    assert [job.resource_name for job in found] == [kept.message.name]
