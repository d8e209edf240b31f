"""AWS Batch through the runner and the fake: job definitions, numbers of calls, and faults of the service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends import aws_batch, base
from gpuyard.training_jobs.backends.aws_batch import definitions, environment
from gpuyard.training_jobs.backends.base import Backend
from gpuyard.training_jobs.errors import AuthError, GpuyardError, LostSightError, QuotaError, UsageError
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Exit, Reason, State
from gpuyard.training_jobs.target import BatchTarget, JobTarget
from tests.fakes.aws.batch import FakeBatch
from tests.fakes.aws.botocore_service import DENIED, EXPIRED, LOST, THROTTLED, UNAVAILABLE, Fault, RefusalError
from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.helpers.batch_pool import GROUP, NODE_PROGRAM, batch_target, call_as_a_pipeline, starts
from tests.helpers.local_pool import job


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBatch]:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "batch_program.py").write_text(NODE_PROGRAM)
    monkeypatch.setattr(base, "BOOTSTRAP", tmp_path / "batch_program.py")
    aws_batch._queue_checked.clear()
    environment._known.clear()
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)  # boto3's own pauses
    with FakeLogs() as logs, FakeBatch(tmp_path / "nodes", logs, speed=60, stop_s=1) as fake:
        logs.group(GROUP)
        fake.add_queue("yard-p5", nodes=3)
        call_as_a_pipeline(monkeypatch, batch=fake.url, cloudwatch_logs=logs.url)
        yield fake


def _backend(target: JobTarget) -> Backend:
    assert isinstance(target, BatchTarget)
    backend = aws_batch.BatchBackend(target, sleep=lambda _: None)
    backend.poll_s = 0.05
    return backend


def pool(tmp_path: Path, **changes: Any) -> Runner:
    return Runner(
        {"p5": batch_target(f"file://{tmp_path}/bucket", **changes)}, backend_for=_backend, sleep=lambda s: time.sleep(min(s, 0.05))
    )


def records(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "bucket").rglob("run.json"))


def names(fake: FakeBatch) -> list[str]:
    return [call.operation for call in fake.calls]


def test_a_definition_is_registered_once_and_a_later_submit_costs_one_call(fake: FakeBatch, tmp_path: Path) -> None:
    runner = pool(tmp_path)
    runner.submit(job("first"), None)
    assert names(fake) == [
        "DescribeJobQueues", "SubmitJob", "DescribeJobDefinitions", "RegisterJobDefinition", "DescribeJobDefinitions", "SubmitJob",
    ]  # fmt: skip
    fake.calls.clear()
    runner.submit(job("second"), None)
    assert names(fake) == ["SubmitJob"]
    assert len(fake.definitions) == 1


def test_a_deregistered_definition_is_registered_again(fake: FakeBatch, tmp_path: Path) -> None:
    runner = pool(tmp_path)
    runner.submit(job("first"), None)
    fake.definitions[0]["status"] = "INACTIVE"
    assert runner.submit(job("second"), None).created
    assert [definition["status"] for definition in fake.definitions] == ["INACTIVE", "ACTIVE"]


def test_old_definitions_of_the_pool_are_deregistered_and_no_others(
    fake: FakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definitions, "KEPT", 3)
    other = {"jobDefinitionName": "somebody-elses", "jobDefinitionArn": "arn", "revision": 1, "status": "ACTIVE", "type": "container"}
    fake.definitions.append(other)
    for memory in range(1000, 7000, 1000):
        pool(tmp_path, memory_mib=memory).submit(job(f"m-{memory}"), None)
    active = [definition for definition in fake.definitions if definition["status"] == "ACTIVE"]
    assert other in active
    assert len(active) == 1 + 3
    assert active[-1]["containerProperties"]["resourceRequirements"][1]["value"] == "6000"


def test_a_denied_deregistration_does_not_fail_the_submit(fake: FakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "KEPT", 1)
    pool(tmp_path, memory_mib=1000).submit(job("first"), None)
    fake.fail("DeregisterJobDefinition", DENIED)
    assert pool(tmp_path, memory_mib=2000).submit(job("second"), None).created
    assert fake.count("DeregisterJobDefinition") == 1


@pytest.mark.parametrize("fault", [THROTTLED, UNAVAILABLE, LOST])
def test_a_submit_with_a_fault_starts_one_job(fake: FakeBatch, tmp_path: Path, fault: Fault) -> None:
    runner = pool(tmp_path)
    runner.submit(job("first"), None)
    fake.fail("SubmitJob", fault)
    submitted = runner.submit(job("second"), None)
    assert submitted.created
    assert runner.wait(submitted.status.run_id).state is State.SUCCEEDED
    assert len(fake.jobs) == 2


def test_a_job_whose_answer_was_lost_is_found_once_it_is_listed(fake: FakeBatch, tmp_path: Path) -> None:
    runner = pool(tmp_path)
    runner.submit(job("first"), None)
    fake.listing_lag = 100
    fake.fail("SubmitJob", LOST)
    with pytest.raises(LostSightError, match="run the same"):
        runner.submit(job("second"), None)
    fake.listing_lag = 0
    target = batch_target(f"file://{tmp_path}/bucket")
    later = Runner({"p5": target}, backend_for=_backend, clock=lambda: time.time() + 61)
    assert later.submit(job("second"), None).created is False
    assert len(fake.jobs) == 2


@pytest.mark.parametrize(
    ("operation", "fault", "expected"),
    [
        ("DescribeJobQueues", DENIED, AuthError),
        ("DescribeJobQueues", Fault(RefusalError("ExpiredTokenException", "gone")), AuthError),
        ("SubmitJob", DENIED, AuthError),
    ],
)
def test_a_denied_caller_gets_an_auth_error(
    fake: FakeBatch, tmp_path: Path, operation: str, fault: Fault, expected: type[GpuyardError]
) -> None:
    fake.fail(operation, fault, times=2)
    with pytest.raises(expected) as refused:
        pool(tmp_path).submit(job(), None)
    assert refused.value.exit_code is Exit.AUTH
    assert fake.jobs == {}
    assert bool(records(tmp_path)) is (operation == "SubmitJob")


def test_an_exceeded_quota_is_a_quota_error(fake: FakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"Error": {"Code": "ServiceQuotaExceededException", "Message": "too many"}, "ResponseMetadata": {"HTTPStatusCode": 402}}

    def refuse(self: object, operation: str, *_: object) -> object:
        from botocore.exceptions import ClientError

        raise ClientError(refused, operation)

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", refuse)
    with pytest.raises(QuotaError):
        pool(tmp_path).submit(job(), None)


@pytest.mark.parametrize(
    ("change", "message"), [({"state": "DISABLED"}, "DISABLED"), ({"status": "INVALID"}, "INVALID"), (None, "has no queue")]
)
def test_a_queue_that_takes_no_jobs_is_refused_before_anything_is_written(
    fake: FakeBatch, tmp_path: Path, change: dict[str, str] | None, message: str
) -> None:
    if change is None:
        fake.queues.clear()
    for name, value in (change or {}).items():
        setattr(fake.queues["yard-p5"], name, value)
    with pytest.raises(UsageError, match=message):
        pool(tmp_path).submit(job(), None)
    assert records(tmp_path) == []
    assert fake.jobs == {}


def test_a_wait_survives_throttling_server_errors_and_renewed_credentials(fake: FakeBatch, tmp_path: Path) -> None:
    runner = pool(tmp_path)
    run = runner.submit(job(env={"NAP": "2"}), None).status.run_id
    fake.fail("DescribeJobs", THROTTLED, times=6)  # more faults than the retries of one call
    fake.fail("DescribeJobs", UNAVAILABLE, call=7, times=2)
    fake.fail("DescribeJobs", EXPIRED, call=9, times=4)  # two successive calls and the retry of each
    assert runner.wait(run).state is State.SUCCEEDED
    assert fake.count("DescribeJobs") > 12


def test_expired_credentials_raise_lost_sight_and_fail_no_job(fake: FakeBatch, tmp_path: Path) -> None:
    runner = pool(tmp_path)
    run = runner.submit(job(env={"NAP": "60"}), None).status.run_id
    fake.fail("DescribeJobs", EXPIRED, times=100)
    with pytest.raises(LostSightError) as lost:
        runner.status(run)
    assert lost.value.exit_code is Exit.LOST_SIGHT


def test_a_forgotten_job_and_an_unknown_state_are_unknown(fake: FakeBatch, tmp_path: Path) -> None:
    runner = pool(tmp_path)
    run = runner.submit(job(env={"NAP": "60"}), None).status.run_id
    [there] = fake.jobs.values()
    there.status = "PAUSED"
    found = runner.status(run)
    assert found.state is State.UNKNOWN
    assert "PAUSED" in (found.detail or "")
    there.status = "RUNNING"
    forgotten = fake.jobs.pop(there.id)
    assert runner.status(run).state is State.UNKNOWN
    fake.jobs[there.id] = forgotten


def test_the_oldest_of_several_jobs_with_one_name_is_found(fake: FakeBatch, tmp_path: Path) -> None:
    """No submit starts a second job of a name, but a user may copy a request."""
    runner = pool(tmp_path)
    first = runner.submit(job(env={"NAP": "1"}), None).status
    submission = next(call.body for call in fake.calls if call.operation == "SubmitJob")
    for _ in range(3):
        fake.submit_job(submission)
    run = _runs_of(fake, tmp_path, first.run_id)
    assert _backend(batch_target()).find(run) == first.service.id


def _runs_of(fake: FakeBatch, tmp_path: Path, run_id: str) -> Any:
    runner = pool(tmp_path)
    return runner._runs.find(run_id)._run()


def test_batch_uses_the_retries_and_a_later_submit_adds_one_attempt(fake: FakeBatch, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"env": {"CODE": "75"}, "retries": {"preempted": 2}}
    runner = pool(tmp_path)
    run = runner.submit(job(**keys), None).status.run_id
    status = runner.wait(run)
    assert status.state is State.STOPPED
    assert starts(tmp_path / "bucket", run) == [(0, 0)] * 3
    assert len(fake.jobs) == 1
    runner.submit(job(**keys), None)  # a manual resume beyond the retries: one more start, and no retries by the service
    runner.wait(run)
    assert starts(tmp_path / "bucket", run) == [(0, 0)] * 3 + [(1, 0)]


def test_the_time_limit_counts_over_all_of_batchs_attempts(fake: FakeBatch, tmp_path: Path) -> None:
    """60 s of Batch are 1 s here: the first attempt takes 0.8 s, so the second reaches the limit after 0.2 s."""
    runner = pool(tmp_path)
    run = runner.submit(job(env={"NAP": "0.8,60", "CODE": "75,0"}, timeout="60s", retries={"preempted": 1}), None).status.run_id
    status = runner.wait(run)
    assert (status.state, status.reason) == (State.FAILED, "timeout")


@pytest.mark.parametrize("ending", [State.SUCCEEDED, State.CANCELLED])
def test_queue_timeout_does_not_end_a_restart_that_waits_for_machines(fake: FakeBatch, tmp_path: Path, ending: State) -> None:
    """It has run before, so the time since its submission is not queue time."""
    now = 0.0
    target = batch_target(f"file://{tmp_path}/bucket")
    runner = Runner({"p5": target}, backend_for=_backend, clock=lambda: time.time() + now, sleep=lambda s: time.sleep(min(s, 0.05)))
    run = runner.submit(job(env={"CODE": "75,0", "NAP": "1,0"}, queue_timeout="1m", retries={"preempted": 1}), None).status.run_id
    [there] = fake.jobs.values()
    while not there.attempts:
        time.sleep(0.01)
    fake.queues["yard-p5"].starved = True
    while there.live or there.status != "RUNNABLE":
        time.sleep(0.01)
    now = 3600
    assert runner.status(run).state is State.RECOVERING
    if ending is State.CANCELLED:
        runner.cancel(run)
    fake.queues["yard-p5"].starved = False
    assert runner.wait(run).state is ending
    assert starts(tmp_path / "bucket", run) == [(0, 0)] * (2 if ending is State.SUCCEEDED else 1)


def test_a_machine_without_an_efa_driver_runs_one_node_and_fails_several_as_infra(fake: FakeBatch, tmp_path: Path) -> None:
    """Docker refuses a container with a device that the machine lacks: it is the machine's fault, not the job's."""
    fake.queues["yard-p5"].adapters = 0
    runner = pool(tmp_path)
    assert runner.wait(runner.submit(job("one"), None).status.run_id).state is State.SUCCEEDED
    outcome = runner.wait(runner.submit(job("two", nodes=2), None).status.run_id)
    assert (outcome.state, outcome.reason) == (State.FAILED, Reason.INFRA)


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        ({"statusReason": "ComputeEnvironment Healthy"}, ""),
        ({"statusReason": "VcpuLimitExceeded - You have requested more vCPU capacity"}, "VcpuLimitExceeded"),
        ({"status": "INVALID", "statusReason": "CLIENT_ERROR - Not authorized"}, "compute environment INVALID: CLIENT_ERROR"),
        ({"state": "DISABLED"}, "its compute environment is DISABLED"),
    ],
)
def test_a_waiting_job_shows_the_reason_of_its_environment(fake: FakeBatch, tmp_path: Path, compute: dict[str, str], words: str) -> None:
    fake.queues["yard-p5"].starved, fake.queues["yard-p5"].environment = True, compute
    runner = pool(tmp_path)
    run = runner.submit(job("waits"), None).status.run_id
    until = time.monotonic() + 10
    while "RUNNABLE" not in str((status := runner.status(run)).detail) and time.monotonic() < until:
        time.sleep(0.05)
    assert words in str(status.detail)
    assert ("compute environment" in str(status.detail)) == bool(words)
    runner.status(run)
    assert names(fake).count("DescribeComputeEnvironments") == 1  # once a minute


def test_a_caller_who_may_not_describe_environments_still_gets_the_status(fake: FakeBatch, tmp_path: Path) -> None:
    fake.queues["yard-p5"].starved = True
    fake.fail("DescribeComputeEnvironments", DENIED)
    runner = pool(tmp_path)
    assert runner.status(runner.submit(job("waits"), None).status.run_id).state is State.PENDING
