"""AWS Batch: the number of calls of a submission and of a status of many jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.problems import Problem
from gpuyard.training_jobs.backends import aws_batch
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import State
from tests.fakes.aws.batch import FakeBatch
from tests.fakes.aws.botocore_service import DENIED
from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.fakes.aws.moto_server import Moto, moto
from tests.helpers.batch_pool import GROUP, batch_target
from tests.helpers.local_pool import job


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Moto]:
    with moto(monkeypatch, "runs") as server:
        yield server


@pytest.fixture
def fake(s3: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBatch]:
    aws_batch._queue_checked.clear()
    with FakeLogs() as logs, FakeBatch(tmp_path / "nodes", logs) as fake:
        logs.group(GROUP)
        fake.add_queue("yard-p5", nodes=0)  # submitted jobs wait
        fake.add_queue("yard-l4", nodes=0)
        monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", fake.url)
        yield fake


def yard() -> Runner:
    other = batch_target("s3://runs", pool="l4", job_queue="yard-l4")
    return Runner({"p5": batch_target("s3://runs"), "l4": other})


def test_a_later_submission_costs_four_calls_and_no_listing(fake: FakeBatch, s3: Moto) -> None:
    runner = yard()
    runner.submit(job("first", pool="p5"), None)
    for name in ("second", "third"):
        stored, before = len(s3.calls), len(fake.calls)
        assert runner.submit(job(name, pool="p5"), None).created
        calls = [method for method, _ in s3.calls[stored:]] + [call.operation for call in fake.calls[before:]]
        assert calls == ["GET", "PUT", "PUT", "SubmitJob"]  # read: no record, write the record, write the job's id
    assert ("GET", "/runs") not in s3.calls  # a listing is a GET of the bucket itself


def test_the_states_of_a_hundred_jobs_cost_one_call(fake: FakeBatch, s3: Moto) -> None:
    runner = yard()
    for number in range(103):
        runner.submit(job(f"job-{number}", pool="p5"), None)
    before = len(fake.calls)
    found = runner.runs()
    assert {status.state for status in found} == {State.PENDING}
    assert len({status.service.id for status in found}) == 103
    calls = fake.calls[before:]
    assert [len(call.body["jobs"]) for call in calls if call.operation == "DescribeJobs"] == [100, 3]
    asked_once_a_minute = ["DescribeJobQueues", "DescribeComputeEnvironments"]  # what waiting jobs wait for
    assert [call.operation for call in calls if call.operation != "DescribeJobs"] in ([], asked_once_a_minute)


def test_each_job_has_its_own_state_in_a_bulk_status(fake: FakeBatch, s3: Moto) -> None:
    runner = yard()
    runs = [runner.submit(job(f"job-{number}", pool=pool), None).status for number, pool in enumerate(["p5", "p5", "l4", "l4", "p5"])]
    runner.cancel(runs[1].run_id)
    assert runs[3].service.id is not None
    del fake.jobs[runs[3].service.id]  # as if a week had passed
    before = len(fake.calls)
    states = {status.run_id: status.state for status in runner.runs()}
    assert [states[run.run_id] for run in runs] == [State.PENDING, State.CANCELLED, State.PENDING, State.UNKNOWN, State.PENDING]
    assert fake.count("DescribeJobs") - sum(call.operation == "DescribeJobs" for call in fake.calls[:before]) == 2  # one for each pool
    before = len(fake.calls)
    assert {status.run_id: status.state for status in runner.runs()} == states
    assert [len(call.body["jobs"]) for call in fake.calls[before:]] == [2, 2]  # the job that ended is not described again


def test_a_denied_bulk_status_is_called_once_and_reported_for_each_run(fake: FakeBatch, s3: Moto) -> None:
    runner = yard()
    runs = {runner.submit(job(f"job-{number}", pool="p5"), None).status.run_id for number in range(3)}
    fake.fail("DescribeJobs", DENIED, times=99)
    messages: list[str] = []
    assert {status.state for status in runner.runs(messages.append)} == {State.UNKNOWN}
    assert {line.partition(":")[0] for line in messages} == runs
    assert fake.count("DescribeJobs") == 1


def test_a_job_that_batch_cannot_run_costs_no_call(fake: FakeBatch, s3: Moto) -> None:
    runner = Runner({"p5": batch_target("s3://runs", spot=True)})
    stored = len(s3.calls)
    with pytest.raises(UsageError) as caught:
        runner.submit(job("wide", nodes=2), None)
    assert [type(problem) for problem in caught.value.problems] == [Problem]
    assert fake.calls == []
    assert [method for method, _ in s3.calls[stored:]] == ["GET"]
