"""Azure ML through the runner, over HTTPS to fakes with Azure's own host names: each way in which a job can end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.errors import AuthError, ConflictError, LostSightError, QuotaError, UsageError
from gpuyard.training_jobs.state import Exit, Reason, State, exit_for
from tests.fakes.azure.azureml import SAS
from tests.fakes.azure.https_service import DENIED, EXPIRED, LOST, THROTTLED, UNAVAILABLE, Fault, RefusalError
from tests.helpers.azureml_pool import Yard, yard
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
from tests.helpers.waiting import WAIT_LIMIT_S, wait_for

PROGRAM = node_program("""
import datetime
from azure.identity import DefaultAzureCredential
from azure.storage.blob import ContainerClient
rank = int(os.environ["NODE_RANK"])
container, _, rest = os.environ["GPUYARD_RUN_URL"].removeprefix("abfs://").partition("@")
host, _, run = rest.partition("/")
bucket = ContainerClient("https://" + host.replace(".dfs.", ".blob."), container, credential=DefaultAzureCredential())
def put(path, data): bucket.upload_blob(f"{run}/{path}", json.dumps(data), overwrite=True)
def say(word): print(datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "node", rank, word, flush=True)
""")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, program=PROGRAM, grace_s=10) as found:
        yield found


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azure.core.pipeline.policies.RetryPolicy.sleep", lambda *_, **__: None)


def test_two_nodes_run_to_the_end(service: Yard) -> None:
    runner = service.runner()
    status, code = run_to_end(runner, "works")
    assert (status.state, status.exit_code, code) == (State.SUCCEEDED, 0, Exit.OK), service.ml.text()
    assert str(status.service.console_url).startswith(f"https://ml.azure.com/runs/{status.service.id}?wsid=/subscriptions/")
    lines = list(runner.logs(status.run_id))
    assert sorted((line.node, line.text) for line in lines) == [
        (0, "node 0 is done"), (0, "node 0 runs"), (1, "node 1 is done"), (1, "node 1 runs"),
    ]  # fmt: skip
    assert {line.node for line in runner.logs(status.run_id, node=1)} == {1}
    assert list(runner.logs(status.run_id, since=time.time() + 60)) == []
    assert (runner.capacity()["h100"].nodes, runner.capacity()["h100"].free) == (2, 2)
    assert service.storage.proxy.refused == []


def test_a_failing_script_is_a_user_error_with_its_own_exit_code(service: Yard) -> None:
    status, code = run_to_end(service.runner(), "fails")
    assert (status.state, status.reason, status.exit_code, code) == (State.FAILED, Reason.USER_ERROR, 7, Exit.FAILED)
    assert status.attempts[-1].tail == ["boom"]


def test_an_exit_code_that_the_service_does_not_report_is_read_from_the_run_bucket(service: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    end = service.ml._end
    quiet = {"code": "UserError", "message": "Execution failed."}
    monkeypatch.setattr(service.ml, "_end", lambda job, status, error=None: end(job, status, error and quiet))
    status, _ = run_to_end(service.runner(), "fails")
    assert (status.state, status.reason, status.exit_code) == (State.FAILED, Reason.USER_ERROR, 7)


def test_a_job_is_stopped_at_its_time_limit(service: Yard) -> None:
    status, code = run_to_end(service.runner(), "stays", timeout="10s")
    assert (status.state, status.reason, code) == (State.FAILED, Reason.TIMEOUT, Exit.TIMEOUT)
    wait_for_output(service.ml.text, "node 1 leaves")


def test_a_job_is_stopped_at_its_cost_limit(service: Yard) -> None:
    status, code = run_to_end(service.runner(), "stays", max_cost_usd=0.06)  # two nodes at a cent a second
    assert (status.state, status.reason, code) == (State.FAILED, Reason.COST, Exit.FAILED)


def test_queue_timeout_without_nodes_is_a_capacity_failure(service: Yard) -> None:
    service.ml.machines = 0
    status, code = run_to_end(service.runner(), "works", queue_timeout="1s")
    assert (status.state, status.reason, code) == (State.FAILED, Reason.CAPACITY, Exit.CAPACITY)


def test_a_waiting_job_shows_the_clusters_allocation_error(service: Yard) -> None:
    service.ml.machines = 0
    service.ml.compute_errors = [{"error": {"code": "ClusterCoreQuotaReached", "message": "Operation results in exceeding quota\nlimits"}}]
    runner = service.runner()
    run = runner.submit(two_node_job("works"), None).status.run_id
    wait_for(lambda: "Quota" in str(runner.status(run).detail), lambda: str(runner.status(run).detail))
    status = runner.status(run)
    detail = "waits for the cluster's nodes; ClusterCoreQuotaReached: Operation results in exceeding quota limits"
    assert (status.state, status.detail) == (State.PENDING, detail)
    service.ml.fail("get_compute", DENIED)
    assert runner.status(run).detail == "waits for the cluster's nodes"


def test_preempted_nodes_are_replaced_and_the_job_continues_as_the_next_attempt(service: Yard) -> None:
    runner = service.runner(spot=True)
    run = runner.submit(two_node_job("returns", retries={"preempted": 1}), None).status.run_id
    wait_for_output(service.ml.text, "node 0 runs")  # it has claimed the attempt
    service.ml.machines = 0
    service.ml.preempt(next(iter(service.ml.jobs)))
    status = wait_for_state(runner, run, State.RECOVERING)
    assert status.detail == "its nodes were preempted; it waits for new nodes"
    service.ml.machines = 2
    status = runner.wait(run)
    assert (status.state, status.attempt, len(service.ml.jobs)) == (State.SUCCEEDED, 2, 1)
    assert [(each.state, each.reason) for each in status.attempts] == [(State.STOPPED, Reason.PREEMPTED), (State.SUCCEEDED, None)]


def test_a_job_preempted_more_often_than_its_retries_allow_is_stopped(service: Yard) -> None:
    runner = service.runner(spot=True)
    run = runner.submit(two_node_job("returns", retries={"preempted": 0}), None).status.run_id
    wait_for_output(service.ml.text, "node 0 runs")  # it has claimed the attempt
    service.ml.machines = 0
    service.ml.preempt(next(iter(service.ml.jobs)))
    status = runner.wait(run)
    assert (status.state, status.reason, exit_for(status.state, status.reason)) == (State.STOPPED, Reason.PREEMPTED, Exit.STOPPED)


def test_an_eviction_that_ends_the_job_is_a_preemption(service: Yard) -> None:
    service.ml.requeues = False
    runner = service.runner(spot=True)
    run = runner.submit(two_node_job("returns"), None).status.run_id
    wait_for_output(service.ml.text, "node 1 runs")
    service.ml.preempt(next(iter(service.ml.jobs)))
    status = runner.wait(run)
    assert (status.state, status.attempt, len(service.ml.jobs)) == (State.SUCCEEDED, 2, 2)


def test_a_resumable_exit_is_resumed(service: Yard) -> None:
    status, _ = run_to_end(service.runner(), "resumes")
    assert (status.state, status.attempt, len(service.ml.jobs)) == (State.SUCCEEDED, 2, 2)


def test_logs_are_followed_to_the_end(service: Yard) -> None:
    runner = service.runner()
    run = runner.submit(two_node_job("returns"), None).status.run_id
    began = time.time()
    wait_for_output(service.ml.text, "node 0 runs")
    wait_for_output(service.ml.text, "node 1 runs")
    assert logs_during_cancel(runner, run) == ["node 0 leaves", "node 0 runs", "node 1 leaves", "node 1 runs"]
    assert len(list(runner.logs(run, since=began))) == 4


@pytest.mark.parametrize("when", ["waiting", "running", "ended"])
def test_a_cancel_in_every_state(service: Yard, when: str) -> None:
    runner = service.runner()
    service.ml.machines = 0 if when == "waiting" else 2
    run = runner.submit(two_node_job("works" if when == "ended" else "stays"), None).status.run_id
    if when == "running":
        wait_for_output(service.ml.text, "node 1 runs")
    if when == "ended":
        wait_for_state(runner, run, State.SUCCEEDED)
    runner.cancel(run)
    runner.cancel(run)
    assert runner.wait(run).state is (State.SUCCEEDED if when == "ended" else State.CANCELLED)
    assert service.ml.count("put_job") == 1


@pytest.mark.parametrize("operation", ["put_job", "put_environment"])
@pytest.mark.parametrize("fault", [LOST, THROTTLED, UNAVAILABLE, EXPIRED], ids=["lost answer", "throttled", "5xx", "expired"])
@pytest.mark.usefixtures("no_waiting")
def test_a_submit_with_a_fault_starts_one_job(service: Yard, fault: Fault, operation: str) -> None:
    service.ml.machines = 0
    service.ml.fail(operation, fault)
    assert service.runner().submit(two_node_job("works"), None).status.state is State.PENDING
    assert (len(service.ml.jobs), service.ml.count(operation)) == (1, 2)


def test_concurrent_submits_start_one_job(service: Yard) -> None:
    found = submit_concurrently(20, lambda: service.runner().submit(two_node_job("works"), None, key="nightly"))
    assert [submitted.created for submitted in found].count(True) == 1
    assert len(service.ml.jobs) == 1
    assert service.runner().wait(found[0].status.run_id).state is State.SUCCEEDED


QUOTA = Fault(RefusalError(409, "QuotaExceeded", "The subscription has too many jobs"))
BAD = Fault(RefusalError(400, "UserError", "no"))


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [(DENIED, AuthError, "does not have authorization"), (QUOTA, QuotaError, "too many jobs"), (BAD, UsageError, "UserError: no")],
)
def test_a_refused_submit_raises_and_can_be_repeated(service: Yard, fault: Fault, error: type[Exception], message: str) -> None:
    service.ml.machines = 0
    service.ml.fail("put_job", fault)
    with pytest.raises(error, match=message):
        service.runner().submit(two_node_job("works"), None)
    assert service.ml.jobs == {}
    assert service.runner().submit(two_node_job("works"), None).created is True


@pytest.mark.usefixtures("no_waiting")
def test_expired_credentials_are_read_again_and_lasting_expiry_raises_lost_sight(service: Yard) -> None:
    service.ml.machines = 0
    runner = service.runner()
    run = runner.submit(two_node_job("works"), None).status.run_id
    service.ml.fail("get_job", EXPIRED)
    before = service.storage.entra.count("token")
    assert runner.status(run).state is State.PENDING
    assert service.storage.entra.count("token") > before
    service.ml.fail("get_job", EXPIRED, times=10)
    with pytest.raises(LostSightError, match="the job may still run"):
        runner.status(run)
    service.ml.clear_faults()
    assert runner.status(run).state is State.PENDING


def test_an_unknown_status_is_unknown_and_not_a_success(service: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    service.ml.machines = 0
    monkeypatch.setattr(service.ml, "_set_status", lambda *_: None)
    runner = service.runner()
    run = runner.submit(two_node_job("works"), None).status.run_id
    (made,) = service.ml.jobs.values()
    for word in ("Paused", "NotResponding", "Melting"):
        made.status = word
        assert runner.status(run).state is State.UNKNOWN


def test_a_forgotten_job_is_unknown_and_not_a_success(service: Yard) -> None:
    runner = service.runner()
    run = runner.submit(two_node_job("works"), None).status.run_id
    for life in service.ml._lives:
        life.join(WAIT_LIMIT_S)
    service.ml.jobs.clear()
    status = runner_with_fast_clock(runner).wait(run)
    assert (status.state, exit_for(status.state, status.reason)) == (State.UNKNOWN, Exit.LOST_SIGHT)
    assert list(runner.logs(run, follow=True)) == []


@pytest.mark.usefixtures("equal_nonces")
def test_another_runs_job_with_the_same_name_is_not_adopted(service: Yard) -> None:
    service.ml.machines = 0
    run = service.runner().submit(two_node_job("works"), None, key="nightly").status.run_id
    (made,) = service.ml.jobs.values()
    made.properties["environmentVariables"] = {**made.properties["environmentVariables"], "GPUYARD_RUN_URL": "abfs://other/gpuyard/runs/x"}
    service.storage.client().delete_blob(f"gpuyard/submissions/{run}/run.json")
    with pytest.raises(ConflictError, match="belongs to another run"):
        service.runner().submit(two_node_job("works"), None, key="nightly")


@pytest.mark.usefixtures("equal_nonces")
def test_a_job_of_this_submission_from_another_version_is_adopted(service: Yard) -> None:
    service.ml.machines = 0
    run = service.runner().submit(two_node_job("works"), None, key="nightly").status.run_id
    (made,) = service.ml.jobs.values()
    made.properties["command"] = "python3 -c older"
    service.storage.client().delete_blob(f"gpuyard/submissions/{run}/run.json")
    assert service.runner().submit(two_node_job("works"), None, key="nightly").status.service.id == made.name


def test_the_states_of_many_jobs_cost_one_call(service: Yard) -> None:
    service.ml.machines = 0
    runner = service.runner()
    for number in range(12):
        runner.submit(two_node_job("works"), None, key=str(number))
    runner.status(runner.runs()[0].run_id)
    before = len(service.ml.calls)
    assert {status.state for status in runner.runs()} == {State.PENDING}
    assert [call.operation for call in service.ml.calls[before:]] == ["get_runs"]


def test_a_signed_url_is_never_shown(service: Yard) -> None:
    runner = service.runner()
    status, _ = run_to_end(runner, "works")
    service.ml.fail("get_log", Fault(RefusalError(403, "AuthenticationFailed", f"?sig={SAS}")), times=20)
    with pytest.raises(AuthError) as refused:
        list(runner.logs(status.run_id))
    assert SAS not in str(refused.value)
    assert not [path for path, data in service.storage.objects().items() if SAS.encode() in data]
