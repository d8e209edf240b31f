"""Submits to Azure ML that run at the same instant, crash at every line or meet faults: exactly one job. Also the calls per submit."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.errors import AuthError, GpuyardError, LostSightError
from gpuyard.training_jobs.runner import Runner, Submitted
from gpuyard.training_jobs.state import Exit, State
from tests.fakes.azure.entra import SIGNATURE, SUBJECT_TOKEN
from tests.fakes.azure.https_service import DENIED, EXPIRED, LOST, THROTTLED, UNAVAILABLE, Fault
from tests.helpers.azureml_pool import Yard, yard
from tests.helpers.concurrent_submits import check_concurrent_submits, check_crashes_at_lines
from tests.helpers.local_pool import job
from tests.helpers.runner_steps import runner_with_fast_clock
from tests.helpers.secret_scan.azure import check_no_secret

_OURS = ("runner.py", "lifecycle/handle.py", "lifecycle/journal.py", "backends/azureml/__init__.py", "clouds/azure.py", "store/blob.py")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, program="print('runs')") as found:
        found.ml.machines = 0  # submitted jobs wait: these tests are about submits
        yield found


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azure.core.pipeline.policies.RetryPolicy.sleep", lambda *_, **__: None)
    monkeypatch.setattr("azure.storage.blob._shared.policies.StorageRetryPolicy.sleep", lambda *_: None)


def submit(service: Yard, key: str, ahead_s: float = 0.0) -> Submitted:
    """Submit as a new process would, with a clock that is ahead by `ahead_s`."""
    runner = Runner({"h100": service.target()}, clock=lambda: time.time() + ahead_s, sleep=lambda _: None)
    return runner.submit(job(nodes=2), None, key=key)


def die(service: Yard, every: int) -> None:
    def made(run: str) -> int:
        return sum(run.rpartition("-")[2] in name for name in service.ml.jobs)

    check_crashes_at_lines(functools.partial(submit, service), _OURS, made, service.ml.jobs, every)


def test_a_submit_that_crashes_at_a_line_is_completed_by_the_next_one(service: Yard) -> None:
    die(service, 7)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_submit_that_crashes_at_any_line_is_completed_by_the_next_one(service: Yard) -> None:
    die(service, 1)


def test_two_pipelines_at_the_same_instant_make_one_job_fifty_times(service: Yard) -> None:
    check_concurrent_submits(2, 50, functools.partial(submit, service), service.ml.jobs)


@pytest.mark.parametrize(
    "fault", [THROTTLED, UNAVAILABLE, LOST, EXPIRED, DENIED], ids=["throttled", "5xx", "lost answer", "expired", "denied"]
)
def test_a_lasting_fault_is_reported_makes_no_second_job_and_shows_no_secret(service: Yard, fault: Fault) -> None:
    service.ml.fail("put_job", fault, times=40)
    with pytest.raises((AuthError, LostSightError)) as caught:
        submit(service, "nightly")
    assert caught.value.exit_code is (Exit.AUTH if fault in (EXPIRED, DENIED) else Exit.LOST_SIGHT)
    service.ml.clear_faults()
    assert submit(service, "nightly", ahead_s=61).status.state is State.PENDING
    assert len(service.ml.jobs) == 1
    check_no_secret(service.storage, [*service.ml.calls, *service.storage.front.calls], str(caught.value))


def test_an_unknown_caller_is_a_permission_error_without_a_token(service: Yard) -> None:
    service.storage.entra.closed = True
    with pytest.raises(AuthError) as refused:
        submit(service, "nightly")
    assert not [secret for secret in (SIGNATURE, SUBJECT_TOKEN) if secret in str(refused.value)]
    assert service.ml.jobs == {}


def test_expired_tokens_are_renewed_during_a_wait_or_the_job_is_lost_from_sight(service: Yard) -> None:
    run = submit(service, "nightly").status.run_id
    service.ml.fail("get_job", EXPIRED, times=3)
    service.storage.entra.closed = True
    with pytest.raises(GpuyardError, match="may still run") as lost:
        runner_with_fast_clock(service.runner(), step_s=30).wait(run)
    assert lost.value.exit_code is Exit.LOST_SIGHT
    service.storage.entra.closed = False
    service.ml.machines = 2
    assert service.runner().wait(run).state is State.SUCCEEDED


def test_a_submission_costs_four_calls_and_lists_nothing(service: Yard) -> None:
    submit(service, "first")
    stored, calls_before = len(service.storage.front.calls), len(service.ml.calls)
    submit(service, "second")
    calls = [call.operation for call in (*service.storage.front.calls[stored:], *service.ml.calls[calls_before:])]
    assert calls == ["GET", "PUT", "PUT", "put_job"]
    stored, calls_before = len(service.storage.front.calls), len(service.ml.calls)
    assert submit(service, "second").created is False
    looks = [call.operation for call in service.ml.calls[calls_before:]]  # the status of a waiting job also reads the cluster's errors
    assert looks in (["get_job", "get_compute"] * 2, ["get_job"] * 2)
    assert len(service.storage.front.calls) - stored <= 6
