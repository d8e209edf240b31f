"""Submits to Vertex AI that run at the same instant, crash at every line or meet faults: exactly one job. Also the calls per submit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends import vertex
from gpuyard.training_jobs.errors import AuthError, GpuyardError, LostSightError, QuotaError
from gpuyard.training_jobs.runner import Runner, Submitted
from gpuyard.training_jobs.state import Exit, State
from gpuyard.training_jobs.target import JobTarget, VertexTarget
from tests.fakes.gcp.vertex_endpoints import DENIED, EXPIRED, LOST, QUOTA, THROTTLED, UNAVAILABLE, Fault
from tests.helpers.concurrent_submits import check_concurrent_submits, check_crashes_at_lines
from tests.helpers.gcs_bucket import drop_cached_clients
from tests.helpers.local_pool import job
from tests.helpers.vertex_pool import Yard, make_target, yard

_OURS = ("runner.py", "lifecycle/handle.py", "lifecycle/journal.py", "vertex/__init__.py", "backends/submit_once.py", "store/gcs.py")


@pytest.fixture(params=["grpc"])
def service(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setattr("google.api_core.retry.retry_unary.time.sleep", lambda _: None)
    with yard(tmp_path, monkeypatch, program="print('runs')", protocol=request.param) as found:
        found.vertex.machines = 0  # submitted jobs wait: these tests are about submits
        yield found


def backend(target: JobTarget) -> vertex.VertexBackend:
    assert isinstance(target, VertexTarget)
    return vertex.VertexBackend(target, sleep=lambda _: None)


def submit(key: str, ahead_s: float = 0.0) -> Submitted:
    """Submit as a new process would, with a clock that is ahead by `ahead_s`."""
    runner = Runner({"l4": make_target()}, backend_for=backend, clock=lambda: time.time() + ahead_s, sleep=lambda _: None)
    return runner.submit(job(nodes=2), None, key=key)


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_a_submit_that_crashes_at_any_line_is_completed_by_the_next_one(service: Yard, every: int) -> None:
    def made(run: str) -> int:
        return sum(found.message.labels["gpuyard_run"] == run for found in service.vertex.jobs.values())

    check_crashes_at_lines(submit, _OURS, made, service.vertex.jobs, every)


def test_twenty_pipelines_at_the_same_instant_make_one_job(service: Yard) -> None:
    check_concurrent_submits(20, 5, submit, service.vertex.jobs)


FAULTS = pytest.mark.parametrize("fault", [THROTTLED, UNAVAILABLE, LOST, EXPIRED], ids=["throttled", "5xx", "lost answer", "expired"])


@FAULTS
@pytest.mark.parametrize("service", ["grpc", "rest"], indirect=True)
def test_a_passing_fault_of_the_service_is_survived(service: Yard, fault: Fault) -> None:
    service.vertex.fail("CreateCustomJob", fault)
    assert submit("nightly").status.state is State.PENDING
    assert len(service.vertex.jobs) == 1


@pytest.mark.parametrize("fault", [THROTTLED, UNAVAILABLE, EXPIRED], ids=["throttled", "5xx", "expired"])
def test_a_lasting_fault_is_reported_and_makes_no_second_job(service: Yard, fault: Fault) -> None:
    service.vertex.fail("CreateCustomJob", fault, times=20)
    with pytest.raises((AuthError, LostSightError)) as caught:
        submit("nightly")
    assert caught.value.exit_code is (Exit.AUTH if fault is EXPIRED else Exit.LOST_SIGHT)
    service.vertex.clear_faults()
    assert submit("nightly", ahead_s=61).status.state is State.PENDING
    assert len(service.vertex.jobs) == 1


def test_a_job_whose_response_was_lost_is_found_by_the_next_submit_although_the_listing_lags(
    service: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that may lag never causes a second call."""
    monkeypatch.setattr(vertex.VertexBackend, "find", lambda self, run: None)
    service.vertex.fail("CreateCustomJob", LOST)
    with pytest.raises(LostSightError, match="did not confirm the job"):
        submit("nightly")
    monkeypatch.undo()
    assert service.vertex.count("CreateCustomJob") == 1


@pytest.mark.parametrize(("fault", "error", "code"), [(DENIED, AuthError, Exit.AUTH), (QUOTA, QuotaError, Exit.QUOTA)])
@pytest.mark.parametrize("service", ["grpc", "rest"], indirect=True)
def test_each_refusal_has_its_error_and_the_next_submit_retries(service: Yard, fault: Fault, error: type[GpuyardError], code: Exit) -> None:
    service.vertex.fail("CreateCustomJob", fault)
    with pytest.raises(error) as refused:
        submit("nightly")
    assert refused.value.exit_code is code
    assert "Bearer" not in str(refused.value)
    assert submit("nightly").created is True
    assert len(service.vertex.jobs) == 1


def test_expired_credentials_lose_sight_of_a_watched_job_only(service: Yard) -> None:
    run = submit("nightly").status.run_id
    runner = Runner({"l4": make_target()}, backend_for=backend)
    service.tokens.revoke()
    assert runner.status(run).state is State.PENDING  # renewed without a message
    service.tokens.revoke()
    service.tokens.refuses = True
    service.storage.accepts = lambda token: True  # the record can still be read
    with pytest.raises(LostSightError, match="the job may still run") as lost:
        backend(make_target()).status(next(iter(service.vertex.jobs)))
    assert lost.value.exit_code is Exit.LOST_SIGHT
    service.tokens.refuses = False
    drop_cached_clients()
    assert runner.status(run).state is State.PENDING


def test_watching_survives_throttling_and_outages(service: Yard) -> None:
    run = submit("nightly").status.run_id
    runner = Runner({"l4": make_target()}, backend_for=backend)
    for fault in (THROTTLED, UNAVAILABLE, LOST):
        service.vertex.fail("GetCustomJob", fault, times=3)
        assert runner.status(run).state is State.PENDING
    service.vertex.fail("CancelCustomJob", UNAVAILABLE, times=2)
    runner.cancel(run)
    assert runner.wait(run).state is State.CANCELLED


def test_a_submit_costs_four_calls_and_the_states_of_a_hundred_jobs_one(service: Yard) -> None:
    submit("first")
    stored, calls_before = len(service.storage.calls), len(service.vertex.calls)
    second = submit("second")
    calls = [call.method for call in service.storage.calls[stored:]] + [
        operation for operation, _, _ in service.vertex.calls[calls_before:]
    ]
    assert calls == ["GET", "POST", "POST", "CreateCustomJob"]
    calls_before = len(service.vertex.calls)
    assert submit("second").created is False
    assert [operation for operation, _, _ in service.vertex.calls[calls_before:]] == ["GetCustomJob"] * 2
    for number in range(98):
        submit(f"more-{number}")
    calls_before = len(service.vertex.calls)
    found = backend(make_target()).statuses(list(service.vertex.jobs))
    assert len(found) == 100
    assert {status.state for status in found.values()} == {State.PENDING}
    assert [operation for operation, _, _ in service.vertex.calls[calls_before:]] == ["ListCustomJobs"]
    assert second.status.service.id in found


def test_an_unknown_state_is_no_success(service: Yard) -> None:
    run = submit("nightly").status.run_id
    service.vertex.strange = 99
    assert Runner({"l4": make_target()}, backend_for=backend).status(run).state is State.UNKNOWN


def test_a_long_listing_is_read_only_as_far_as_needed_and_its_errors_are_reported(service: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vertex, "_PAGE", 10)
    first = submit("first").status.service.id
    for number in range(32):
        submit(f"more-{number}")
    newest = list(service.vertex.jobs)[-4:]
    calls_before = len(service.vertex.calls)
    assert set(backend(make_target()).statuses([str(first), *newest])) == {first, *newest}
    calls = [operation for operation, _, _ in service.vertex.calls[calls_before:]]
    assert calls == ["ListCustomJobs"] * 2 + ["GetCustomJob"]
    assert backend(make_target()).capacity().waiting == 33
    service.vertex.fail("ListCustomJobs", DENIED, call=3)
    with pytest.raises(AuthError):
        backend(make_target()).capacity()
