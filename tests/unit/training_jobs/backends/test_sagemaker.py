"""SageMaker through the runner, with real boto3 and fakes: each way in which a job can end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from gpuyard.training_jobs.errors import AuthError, ConflictError, LostSightError, QuotaError
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Exit, Reason, State, exit_for
from tests.fakes.aws.botocore_service import DENIED, LOST, THROTTLED, UNAVAILABLE, Fault, RefusalError
from tests.helpers.concurrent_submits import submit_concurrently
from tests.helpers.runner_steps import (
    logs_during_cancel,
    node_program,
    run_to_end,
    runner_with_fast_clock,
    two_node_job,
    wait_for_output,
    wait_for_state,
)
from tests.helpers.sagemaker_pool import Yard, yard

PROGRAM = node_program("""
import boto3
rank = sorted(json.loads(os.environ["SM_HOSTS"])).index(os.environ["SM_CURRENT_HOST"])
bucket, run = boto3.client("s3"), os.environ["GPUYARD_RUN_URL"].removeprefix("s3://runs/")
def put(path, data): bucket.put_object(Bucket="runs", Key=f"{run}/{path}", Body=json.dumps(data).encode())
def say(word): print("host", rank, word, flush=True)
while rank and "Contents" not in bucket.list_objects_v2(Bucket="runs", Prefix=f"{run}/attempts/{attempt}.json"):
    time.sleep(0.05)  # as launch does: no node begins before node 0 has claimed the attempt
""")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, program=PROGRAM, grace_s=10) as found:
        yield found


def test_two_hosts_run_to_the_end(service: Yard) -> None:
    runner = service.runner()
    status, code = run_to_end(runner, "works")
    assert (status.state, status.exit_code, code) == (State.SUCCEEDED, 0, Exit.OK)
    assert status.service.id is not None
    assert (
        status.service.console_url == f"https://us-east-1.console.aws.amazon.com/sagemaker/home?region=us-east-1#/jobs/{status.service.id}"
    )
    lines = list(runner.logs(status.run_id))
    assert sorted((line.node, line.text) for line in lines) == [
        (0, "host 0 is done"), (0, "host 0 runs"), (1, "host 1 is done"), (1, "host 1 runs"),
    ]  # fmt: skip
    assert {line.node for line in runner.logs(status.run_id, node=1)} == {1}
    assert list(runner.logs(status.run_id, since=time.time() + 60)) == []
    assert runner.capacity()["h100"].nodes == 2


def test_a_failing_script_is_a_user_error_with_its_own_exit_code(service: Yard) -> None:
    status, code = run_to_end(service.runner(), "fails")
    assert (status.state, status.reason, status.exit_code, code) == (State.FAILED, Reason.USER_ERROR, 7, Exit.FAILED)
    assert status.attempts[-1].tail == ["boom"]


def test_an_exit_code_that_the_service_does_not_report_is_read_from_the_run_bucket(service: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    fail = service.sagemaker._end
    quiet = "AlgorithmError: framework error"
    monkeypatch.setattr(service.sagemaker, "_end", lambda job, status, secondary, reason=None: fail(job, status, secondary, quiet))
    status, _ = run_to_end(service.runner(), "fails")
    assert (status.state, status.reason, status.exit_code) == (State.FAILED, Reason.USER_ERROR, 7)


def test_a_job_is_stopped_at_its_time_limit(service: Yard) -> None:
    status, code = run_to_end(service.runner(), "stays", timeout="10s")
    assert (status.state, status.reason, code) == (State.FAILED, Reason.TIMEOUT, Exit.TIMEOUT)
    wait_for_output(service.logs.text, "host 1 leaves")


def test_a_job_is_stopped_at_its_cost_limit(service: Yard) -> None:
    status, code = run_to_end(service.runner(), "stays", max_cost_usd=0.06)  # two nodes at a cent a second
    assert (status.state, status.reason, code) == (State.FAILED, Reason.COST, Exit.FAILED)


def test_no_machines_within_the_wait_is_a_capacity_failure(service: Yard) -> None:
    service.sagemaker.machines = 0
    service.sagemaker.longest_pending_s = lambda stopping: 0.5
    status, code = run_to_end(service.runner(), "works")
    assert (status.state, status.reason, code) == (State.FAILED, Reason.CAPACITY, Exit.CAPACITY)
    assert status.started_at is None
    assert (status.cost.usd, status.detail) == (0.0, "CapacityError: Unable to provision requested ML compute capacity. Please retry.")


def test_no_spot_machines_within_the_wait_is_a_capacity_failure(service: Yard) -> None:
    service.sagemaker.machines = 0
    status, code = run_to_end(service.runner(spot=True), "works", timeout="1s", queue_timeout="1s")
    assert (status.state, status.reason, code) == (State.FAILED, Reason.CAPACITY, Exit.CAPACITY)


def test_the_accounts_limit_is_a_quota_error(service: Yard) -> None:
    text = "The account-level service limit 'ml.g6.12xlarge for training job usage' is 0 Instances, with current utilization of 0"
    service.sagemaker.fail("CreateTrainingJob", Fault(RefusalError("ResourceLimitExceeded", text)))
    with pytest.raises(QuotaError, match="account-level service limit"):
        service.runner().submit(two_node_job("works"), None)


def test_a_denied_caller_gets_an_auth_error(service: Yard) -> None:
    service.sagemaker.fail("CreateTrainingJob", DENIED)
    with pytest.raises(AuthError, match="not authorized"):
        service.runner().submit(two_node_job("works"), None)


def test_sagemaker_replaces_preempted_spot_machines(service: Yard) -> None:
    runner = service.runner(spot=True)
    run = runner.submit(two_node_job("returns"), None).status.run_id
    wait_for_output(service.logs.text, "host 0 runs")
    wait_for_output(service.logs.text, "host 1 runs")
    (name,) = service.sagemaker.jobs
    service.sagemaker.machines = 0
    service.sagemaker.interrupt(name)
    assert wait_for_state(runner, run, State.RECOVERING).detail == "spot machines were preempted; SageMaker waits for others"
    service.sagemaker.machines = 2
    assert runner.wait(run).state is State.SUCCEEDED
    texts = [line.text for line in runner.logs(run, node=0)]
    assert texts == ["host 0 runs", "host 0 leaves", "host 0 runs", "host 0 is done"]
    assert service.sagemaker.count("CreateTrainingJob") == 1


def test_a_resumable_exit_is_submitted_again_under_the_next_name(service: Yard) -> None:
    runner = service.runner()
    status, code = run_to_end(runner, "resumes", nodes=1)
    assert (status.state, code, status.attempt) == (State.SUCCEEDED, Exit.OK, 2)
    assert [(a.attempt, a.state, a.reason) for a in status.attempts] == [
        (1, State.STOPPED, Reason.PREEMPTED),
        (2, State.SUCCEEDED, None),
    ]
    assert [name.rsplit("-", 2)[1] for name in service.sagemaker.jobs] == ["0", "1"]


def test_logs_are_followed_to_the_end_from_any_time(service: Yard) -> None:
    runner = service.runner()
    run = runner.submit(two_node_job("returns"), None).status.run_id
    began = time.time()
    wait_for_output(service.logs.text, "host 0 runs")
    wait_for_output(service.logs.text, "host 1 runs")
    assert logs_during_cancel(runner, run) == ["host 0 leaves", "host 0 runs", "host 1 leaves", "host 1 runs"]
    assert len(list(runner.logs(run, since=began))) == 4


@pytest.mark.parametrize("when", ["waiting", "running", "recovering", "ended"])
def test_a_cancel_in_every_state(service: Yard, when: str) -> None:
    runner = service.runner(spot=when == "recovering")
    service.sagemaker.machines = 0 if when == "waiting" else 2
    run = runner.submit(two_node_job("works" if when == "ended" else "stays"), None).status.run_id
    if when in ("running", "recovering"):
        wait_for_output(service.logs.text, "host 1 runs")
    if when == "recovering":
        service.sagemaker.machines = 0
        service.sagemaker.interrupt(next(iter(service.sagemaker.jobs)))
        wait_for_state(runner, run, State.RECOVERING)
    if when == "ended":
        wait_for_state(runner, run, State.SUCCEEDED)
    runner.cancel(run)
    runner.cancel(run)
    expected = State.SUCCEEDED if when == "ended" else State.CANCELLED
    assert runner.wait(run).state is expected
    assert service.sagemaker.count("CreateTrainingJob") == 1


@pytest.mark.parametrize("fault", [LOST, THROTTLED, UNAVAILABLE])
def test_a_submit_with_a_fault_starts_one_job(service: Yard, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    service.sagemaker.fail("CreateTrainingJob", fault)
    status, code = run_to_end(service.runner(), "works")
    assert (status.state, code, len(service.sagemaker.jobs)) == (State.SUCCEEDED, Exit.OK, 1)


def test_concurrent_submits_start_one_job(service: Yard) -> None:
    found = submit_concurrently(12, lambda: service.runner().submit(two_node_job("works"), None, key="nightly"))
    assert [submitted.created for submitted in found].count(True) == 1
    assert len(service.sagemaker.jobs) == 1
    assert service.runner().wait(found[0].status.run_id).state is State.SUCCEEDED


@pytest.mark.usefixtures("equal_nonces")
def test_another_runs_training_job_with_the_same_name_is_not_adopted(service: Yard) -> None:
    runner = service.runner()
    run = runner.submit(two_node_job("works"), None, key="nightly").status.run_id
    runner.wait(run)
    (made,) = service.sagemaker.jobs.values()
    made.body["Environment"]["GPUYARD_RUN_URL"] = "s3://other/gpuyard/runs/x"
    boto3.client("s3").delete_object(Bucket="runs", Key=f"gpuyard/submissions/{run}/run.json")
    with pytest.raises(ConflictError, match="belongs to another run"):
        service.runner().submit(two_node_job("works"), None, key="nightly")


def test_a_forgotten_job_is_unknown_and_not_a_success(service: Yard) -> None:
    runner = service.runner()
    run = runner.submit(two_node_job("works"), None).status.run_id
    service.sagemaker.jobs.clear()
    status = runner_with_fast_clock(runner).wait(run)
    assert (status.state, exit_for(status.state, status.reason)) == (State.UNKNOWN, Exit.LOST_SIGHT)


def test_credentials_that_expire_during_a_wait_raise_lost_sight_and_fail_no_job(service: Yard) -> None:
    """The credentials for S3 and for SageMaker expire. A new wait works after they are renewed."""
    runner = service.runner()
    run = runner.submit(two_node_job("stays"), None).status.run_id
    wait_for_output(service.logs.text, "host 1 runs")
    now = time.time()

    def sleep(pause: float) -> None:
        nonlocal now
        now += 400 * pause  # few polls, because each makes a client anew
        service.moto.fail(lambda method, path: ("400 Bad Request", b"<Error><Code>ExpiredToken</Code><Message>no</Message></Error>"))

    with pytest.raises(LostSightError, match="the job may still run") as lost:
        Runner(runner._targets, clock=lambda: now, elapsed=lambda: now, sleep=sleep).wait(run)
    assert lost.value.exit_code is Exit.LOST_SIGHT
    service.moto.fail(lambda method, path: None)
    assert runner.status(run).state is State.RUNNING
    runner.cancel(run)
    assert runner.wait(run).state is State.CANCELLED
