"""Submits to SageMaker that run at the same instant, crash at every line or meet faults: exactly one job. Also the calls per submit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends import sagemaker
from gpuyard.training_jobs.errors import AuthError, LostSightError
from gpuyard.training_jobs.runner import Runner, Submitted
from gpuyard.training_jobs.state import Exit, State
from tests.fakes.aws.botocore_service import DENIED, EXPIRED, LOST, THROTTLED, UNAVAILABLE, Fault
from tests.helpers.concurrent_submits import check_concurrent_submits, check_crashes_at_lines
from tests.helpers.local_pool import job
from tests.helpers.sagemaker_pool import Yard, make_target, yard

_OURS = ("runner.py", "lifecycle/handle.py", "lifecycle/journal.py", "sagemaker/__init__.py", "store/s3.py")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, program="print('runs')") as found:
        found.sagemaker.machines = 0  # submitted jobs wait: these tests are about submits
        yield found


def submit(key: str, ahead_s: float = 0.0) -> Submitted:
    """Submit as a new process would, with a clock that is ahead by `ahead_s`."""
    runner = Runner({"h100": make_target()}, clock=lambda: time.time() + ahead_s, sleep=lambda _: None)
    return runner.submit(job(nodes=2), None, key=key)


@pytest.mark.soak  # takes half a minute; AWS Batch's tests run the same lines without the soak mark
def test_a_submit_that_crashes_at_any_line_is_completed_by_the_next_one(service: Yard) -> None:
    def made(run: str) -> int:
        return sum(run.rpartition("-")[2] in name for name in service.sagemaker.jobs)

    check_crashes_at_lines(submit, _OURS, made, service.sagemaker.jobs)


def test_two_pipelines_at_the_same_instant_make_one_job_fifty_times(service: Yard) -> None:
    check_concurrent_submits(2, 50, submit, service.sagemaker.jobs)


FAULTS = pytest.mark.parametrize("fault", [THROTTLED, UNAVAILABLE, LOST, EXPIRED], ids=["throttled", "5xx", "lost answer", "expired"])


@FAULTS
def test_a_passing_fault_of_the_service_is_survived(service: Yard, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    service.sagemaker.fail("CreateTrainingJob", fault)
    assert submit("nightly").status.state is State.PENDING
    assert len(service.sagemaker.jobs) == 1


@FAULTS
def test_a_lasting_fault_is_reported_and_makes_no_second_job(service: Yard, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    service.sagemaker.fail("CreateTrainingJob", fault, times=20)
    with pytest.raises((AuthError, LostSightError)) as caught:
        submit("nightly")
    assert caught.value.exit_code is (Exit.AUTH if fault is EXPIRED else Exit.LOST_SIGHT)
    service.sagemaker._faults.clear()
    assert submit("nightly", ahead_s=61).status.state is State.PENDING
    assert len(service.sagemaker.jobs) == 1


def test_a_submission_costs_four_calls_and_lists_nothing(service: Yard) -> None:
    submit("first")
    stored, calls_before = len(service.moto.calls), len(service.sagemaker.calls)
    submit("second")
    calls = [method for method, _ in service.moto.calls[stored:]] + [call.operation for call in service.sagemaker.calls[calls_before:]]
    assert calls == ["GET", "PUT", "PUT", "CreateTrainingJob"]
    stored, calls_before = len(service.moto.calls), len(service.sagemaker.calls)
    assert submit("second").created is False
    assert [call.operation for call in service.sagemaker.calls[calls_before:]] == ["DescribeTrainingJob"] * 2
    assert len(service.moto.calls) - stored <= 6


def test_the_states_of_a_hundred_jobs_cost_one_list_call_and_one_call_per_ended_job(service: Yard) -> None:
    """A hundred jobs cost one call, or two if one ended since the last look."""
    runs = [submit(f"night-{number}").status for number in range(7)]
    runner = Runner({"h100": make_target()})

    def look() -> tuple[dict[str, State], list[str]]:
        calls_before = len(service.sagemaker.calls)
        states = {status.run_id: status.state for status in runner.runs()}
        return states, [call.operation for call in service.sagemaker.calls[calls_before:]]

    assert look() == ({run.run_id: State.PENDING for run in runs}, ["ListTrainingJobs"])
    assert service.sagemaker.calls[-1].body["MaxResults"] == 100
    assert runs[3].service.id is not None
    job_ = service.sagemaker.jobs[runs[3].service.id]
    job_.stop.set()
    while not job_.over:
        time.sleep(0.01)
    states, calls = look()
    assert (states[runs[3].run_id], calls) == (State.CANCELLED, ["ListTrainingJobs", "DescribeTrainingJob"])
    assert look() == (states, ["ListTrainingJobs"])  # its end is in the record now
    service.sagemaker.fail("ListTrainingJobs", DENIED)
    assert look() == (
        states,
        ["ListTrainingJobs", *["DescribeTrainingJob"] * 6],
    )  # without permission to list, single status calls still work


def test_a_list_continues_over_pages(service: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    service.sagemaker.page = 2
    monkeypatch.setattr(sagemaker, "_PER_LIST", 2)
    for number in range(3):
        submit(f"night-{number}")
    calls_before = len(service.sagemaker.calls)
    assert [status.state for status in Runner({"h100": make_target()}).runs()] == [State.PENDING] * 3
    assert [call.operation for call in service.sagemaker.calls[calls_before:]] == ["ListTrainingJobs"] * 2
