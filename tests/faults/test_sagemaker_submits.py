"""Submits to SageMaker that race, die at every line and meet faults: one job, whatever happens; and how many calls one costs."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.aws.model import DENIED, EXPIRED, LOST, THROTTLED, UNAVAILABLE, Fault
from tests.support.aws.sagemaker_yard import Yard, make_target, yard
from tests.support.dying import dying_at
from tests.support.local_yard import job
from training_jobs.backends import sagemaker
from training_jobs.errors import AuthError, LostSightError
from training_jobs.runner import Runner, Submitted
from training_jobs.state import Exit, State

_OURS = ("runner.py", "case.py", "journal.py", "sagemaker/__init__.py", "store/s3.py")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, program="print('runs')") as found:
        found.sagemaker.machines = 0  # what is submitted waits: these tests are about submits
        yield found


def submit(key: str, ahead_s: float = 0.0) -> Submitted:
    """As a process of its own would, on a clock that is ahead by so much."""
    runner = Runner({"h100": make_target()}, clock=lambda: time.time() + ahead_s, sleep=lambda _: None)
    return runner.submit(job(nodes=2), None, key=key)


@pytest.mark.soak  # half a minute; the same lines with Batch behind them are in every run
@pytest.mark.timeout(600)
def test_a_submit_that_dies_at_any_line_is_finished_by_the_next_one(service: Yard) -> None:
    submit("warm")  # from here on the clients are there and the code is stored: every submit has the same lines
    lines = dying_at(0, lambda: submit("whole"), _OURS).lines
    assert lines > 60
    died = 0
    for line in range(1, lines + 1):
        key = f"line-{line}"
        died += dying_at(line, functools.partial(submit, key), _OURS).died_at is not None
        finished = submit(key, ahead_s=61)
        assert finished.status.state is State.PENDING
        made = [name for name in service.sagemaker.jobs if finished.status.run_id.rpartition("-")[2] in name]
        assert len(made) == 1, f"line {line}: {made}"
        assert submit(key, ahead_s=122).created is False
    assert died == lines
    assert len(service.sagemaker.jobs) == lines + 2


def test_two_pipelines_at_the_same_instant_make_one_job_fifty_times(service: Yard) -> None:
    for number in range(50):
        barrier = threading.Barrier(2)
        found: list[Submitted] = []

        def pipeline(number: int = number, barrier: threading.Barrier = barrier, found: list[Submitted] = found) -> None:
            barrier.wait()
            found.append(submit(f"round-{number}"))

        threads = [threading.Thread(target=pipeline) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [submitted.created for submitted in found].count(True) == 1
        assert len({submitted.status.run_id for submitted in found}) == 1
        assert len(service.sagemaker.jobs) == number + 1


FAULTS = pytest.mark.parametrize("fault", [THROTTLED, UNAVAILABLE, LOST, EXPIRED], ids=["throttled", "5xx", "lost answer", "expired"])


@FAULTS
def test_a_passing_fault_of_the_service_is_survived(service: Yard, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    service.sagemaker.fail("CreateTrainingJob", fault)
    assert submit("nightly").status.state is State.PENDING
    assert len(service.sagemaker.jobs) == 1


@FAULTS
def test_a_lasting_fault_is_said_and_makes_no_second_job(service: Yard, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    service.sagemaker.fail("CreateTrainingJob", fault, times=20)
    with pytest.raises((AuthError, LostSightError)) as told:
        submit("nightly")
    assert told.value.exit_code is (Exit.AUTH if fault is EXPIRED else Exit.LOST_SIGHT)
    service.sagemaker._faults.clear()
    assert submit("nightly", ahead_s=61).status.state is State.PENDING
    assert len(service.sagemaker.jobs) == 1


def test_a_submission_costs_four_calls_and_lists_nothing(service: Yard) -> None:
    submit("first")
    stored, asked = len(service.moto.calls), len(service.sagemaker.calls)
    submit("second")
    calls = [method for method, _ in service.moto.calls[stored:]] + [call.operation for call in service.sagemaker.calls[asked:]]
    assert calls == ["GET", "PUT", "PUT", "CreateTrainingJob"]
    stored, asked = len(service.moto.calls), len(service.sagemaker.calls)
    assert submit("second").created is False
    assert [call.operation for call in service.sagemaker.calls[asked:]] == ["DescribeTrainingJob"] * 2
    assert len(service.moto.calls) - stored <= 6


def test_many_jobs_are_one_list_for_each_hundred_and_those_that_ended_one_call_each(service: Yard) -> None:
    """A hundred jobs: one call, or two where one ended since the last look."""
    runs = [submit(f"night-{number}").status for number in range(7)]
    runner = Runner({"h100": make_target()})

    def look() -> tuple[dict[str, State], list[str]]:
        asked = len(service.sagemaker.calls)
        states = {status.run_id: status.state for status in runner.runs()}
        return states, [call.operation for call in service.sagemaker.calls[asked:]]

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
    assert look() == (states, ["ListTrainingJobs", *["DescribeTrainingJob"] * 6])  # who may not list still sees


def test_a_list_goes_on_over_pages(service: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    service.sagemaker.page = 2
    monkeypatch.setattr(sagemaker, "_PER_LIST", 2)
    for number in range(3):
        submit(f"night-{number}")
    asked = len(service.sagemaker.calls)
    assert [status.state for status in Runner({"h100": make_target()}).runs()] == [State.PENDING] * 3
    assert [call.operation for call in service.sagemaker.calls[asked:]] == ["ListTrainingJobs"] * 2
