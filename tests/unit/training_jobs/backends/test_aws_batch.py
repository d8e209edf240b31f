"""AWS Batch: the exact requests (golden files) and the tables of states and reasons."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends.aws_batch.request import definitions_prefix, job_name, requests
from gpuyard.training_jobs.backends.aws_batch.states import CANCELLED, is_overtime, status_of
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.run import Code, Run
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Exit, Reason, State, exit_for
from gpuyard.training_jobs.target import BatchTarget
from tests.fakes.aws.batch_rules import decide
from tests.helpers.batch_pool import IMAGE, batch_target
from tests.helpers.local_pool import job

GOLDEN = Path(__file__).parent / "golden"
CODE = Code("c" * 64, "s3://runs/gpuyard/code/" + "d" * 64 + ".tar.gz")
L4 = {
    "pool": "l4",
    "machine": "g6.12xlarge",
    "accelerator": "L4",
    "gpus_per_node": 4,
    "nics_per_node": 0,
    "vcpus": 48,
    "memory_mib": 180_000,
}


def run(target: BatchTarget, submission: int = 0, limit_s: int = 86400, **keys: Any) -> Run:
    return Run("job-0123456789ab", submission, submission + 1, job(**keys), target, CODE, limit_s, "timeout")


GOLDEN_RUNS = {
    "batch-3-nodes-efa": run(batch_target("s3://runs"), nodes=3, retries={"preempted": 3, "infra": 2}, labels={"team": "nlp"}),
    "batch-1-node": run(batch_target("s3://runs", **L4), timeout="1h", limit_s=3600),
    "batch-1-node-spot": run(batch_target("s3://runs", **L4, spot=True), submission=1),
    "batch-team": run(batch_target("s3://runs", **L4, teams=["nlp", "vision"]), labels={"team": "nlp"}, priority=10),
    "batch-cpu": run(batch_target("s3://runs", **{**L4, "accelerator": None, "gpus_per_node": 0}), image=IMAGE),
}


@pytest.mark.parametrize("name", GOLDEN_RUNS)
def test_requests_equal_the_golden_files(name: str) -> None:
    """GOLDEN=write updates the files. They name the bootstrap instead of repeating its text."""
    the_run = GOLDEN_RUNS[name]
    assert isinstance(the_run.target, BatchTarget)
    found = [{"operation": request.operation, "body": request.body} for request in requests(the_run, the_run.target)]
    bootstrap = json.dumps((Path(__file__).parents[4] / "training_jobs/launch/bootstrap.py").read_text())
    text = json.dumps(found, indent=1, sort_keys=True).replace(bootstrap, '"<bootstrap.py>"')
    # The definition's name is a digest of its content, which includes the bootstrap's text.
    definition = str(requests(the_run, the_run.target)[0].body["jobDefinitionName"])
    text = text.replace(definition, definition[:-16] + "<digest>") + "\n"
    if os.environ.get("GOLDEN") == "write":
        (GOLDEN / f"{name}.json").write_text(text)
    assert text == (GOLDEN / f"{name}.json").read_text()


def test_the_definition_of_the_largest_machine_is_within_batchs_size_limit() -> None:
    target = batch_target(nics_per_node=32)
    body = requests(run(target, nodes=3), target)[0].body
    [group] = body["nodeProperties"]["nodeRangeProperties"]
    assert [device["hostPath"] for device in group["container"]["linuxParameters"]["devices"]][::31] == [
        "/dev/infiniband/uverbs0",
        "/dev/infiniband/uverbs31",
    ]
    assert len(json.dumps(body)) < 24 * 1024


def test_a_job_of_one_node_needs_no_efa_device() -> None:
    body = requests(run(batch_target(nics_per_node=32)), batch_target(nics_per_node=32))[0].body
    assert body["containerProperties"]["linuxParameters"]["devices"] == []


def definition(target: BatchTarget, **keys: Any) -> str:
    return str(requests(run(target, **keys), target)[0].body["jobDefinitionName"])


def test_the_definition_does_not_depend_on_the_run() -> None:
    target = batch_target()
    same = {
        definition(target, nodes=3),
        definition(target, nodes=2, submission=4, limit_s=7, retries={"infra": 5}, labels={"a": "b"}, env={"A": "1"}, command=["other.py"]),
    }
    assert len(same) == 1
    assert len({*same, definition(target), definition(target, nodes=2, image="i@sha256:" + "1" * 64)}) == 3
    assert definition(batch_target(memory_mib=1000)) != definition(target)


def test_names_have_the_prefix_that_the_submitters_policy_allows() -> None:
    target = batch_target()
    assert definition(target).startswith(definitions_prefix(target))
    assert definitions_prefix(target).startswith(target.job_prefix)
    assert job_name(run(target, submission=2)) == "job-0123456789ab-2"
    body = requests(run(target), target)[1].body
    assert body["tags"]["stack"] == target.stack


def test_several_nodes_on_spot_are_refused_with_a_fix() -> None:
    target = batch_target(spot=True)
    requests(run(target), target)
    with pytest.raises(UsageError, match="service: sagemaker"):
        requests(run(target, nodes=2), target)


@pytest.mark.parametrize(("image", "default", "message"), [(None, None, "gpuyard pin"), ("train:latest", IMAGE, "gpuyard pin")])
def test_a_missing_image_and_an_image_by_tag_are_refused(image: str | None, default: str | None, message: str) -> None:
    target = batch_target(default_image=default)
    with pytest.raises(UsageError, match=message):
        requests(run(target, image=image), target)


@pytest.mark.parametrize("labels", [{"stack": "other"}, {"aws:x": "1"}, {"a": "ü?"}, {f"k{index}": "v" for index in range(41)}])
def test_labels_that_cannot_be_tags_are_refused(labels: dict[str, str]) -> None:
    target = batch_target()
    with pytest.raises(UsageError, match="labels"):
        requests(run(target, labels=labels), target)


def test_the_command_has_nothing_that_a_shell_or_batch_would_substitute() -> None:
    target = batch_target()
    [python, flag, text] = requests(run(target), target)[0].body["containerProperties"]["command"]
    assert (python, flag) == ("python3", "-c")
    assert len(text.encode()) <= 3000
    assert not any(word in text for word in ("Ref::", "$(", "$$"))


HOST = "Host EC2 (instance i-0123456789abcdef0) terminated."


@pytest.mark.parametrize(("cost", "attempts"), [(None, 4), (1000, 4), (165.2, 3), (110, 1), (50, 1), (0.5, 1)])
def test_all_attempts_of_a_job_together_cost_no_more_than_its_limit(cost: float | None, attempts: int) -> None:
    """A job can hide from launch how long it ran. The bound that holds then is the request's: attempts times the time limit of each."""
    target = batch_target(spot=True)
    plan = Runner({"p5": target}).plan(job(timeout="1h", retries={"preempted": 3}, max_cost_usd=cost), None)
    body = plan.requests[1].body
    assert body["retryStrategy"]["attempts"] == attempts
    hours = attempts * body["timeout"]["attemptDurationSeconds"] / 3600
    assert cost is None or hours * 55.04 <= max(cost, 1)  # the shortest limit of Batch is a minute


@pytest.mark.parametrize(
    ("retries", "spot", "attempts", "again"),
    [
        ({"preempted": 3, "infra": 0}, False, 4, {75}),
        ({"preempted": 3, "infra": 0}, True, 4, {75, HOST}),
        ({"preempted": 3, "infra": 2}, False, 3, {75, 69, 74, HOST}),
        ({"preempted": 0, "infra": 2}, False, 3, {69, 74, HOST}),
        ({"preempted": 0, "infra": 0}, False, 1, set()),
        ({"preempted": 30, "infra": 0}, True, 10, {75, HOST}),
        ({"preempted": 0, "infra": 0, "user_error": 5}, False, 1, set()),
    ],
)
def test_batch_retries_only_the_exits_that_retries_allow(retries: dict[str, int], spot: bool, attempts: int, again: set[object]) -> None:
    target = batch_target(spot=spot)
    strategy = requests(run(target, retries=retries), target)[1].body["retryStrategy"]
    rules = strategy["evaluateOnExit"]
    assert strategy["attempts"] == attempts
    assert rules[-1] == {"onReason": "*", "action": "EXIT"}
    assert len(rules) <= 5
    exited = "Essential container in task exited"
    tried = {code for code in (0, 1, 7, 64, 69, 74, 75, 137, 143) if decide(rules, code, None, exited) == "RETRY"}
    assert tried | ({HOST} if decide(rules, None, None, HOST) == "RETRY" else set()) == again


def batch_job(status: str = "FAILED", code: int | None = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    container = {key: value for key, value in {"exitCode": code, "reason": more.pop("container", None)}.items() if value is not None}
    attempts = [{"container": container, "startedAt": 1000, "stoppedAt": 9000, "statusReason": reason}] if status == "FAILED" else []
    return {"status": status, "statusReason": reason, "attempts": attempts, "startedAt": 1000, "stoppedAt": 9000, "tags": {}, **more}


LIMIT = "Canceled by JobStateTimeLimit action due to reason: "
EXITED = "Essential container in task exited"
OVER = "Job attempt duration exceeded timeout"


@pytest.mark.parametrize(
    ("job", "spot", "state", "reason", "exit_code"),
    [
        (batch_job("SUBMITTED"), False, State.PENDING, None, None),
        (batch_job("RUNNABLE"), False, State.PENDING, None, None),
        (batch_job("STARTING"), False, State.PENDING, None, None),
        (batch_job("RUNNING"), False, State.RUNNING, None, None),
        (batch_job("SUCCEEDED"), False, State.SUCCEEDED, None, Exit.OK),
        (batch_job("PAUSED"), False, State.UNKNOWN, None, Exit.LOST_SIGHT),
        (batch_job(code=7, reason=EXITED), False, State.FAILED, Reason.USER_ERROR, Exit.FAILED),
        (batch_job(code=64, reason=EXITED), False, State.FAILED, Reason.USER_ERROR, Exit.FAILED),
        (batch_job(code=69, reason=EXITED), False, State.FAILED, Reason.FABRIC, Exit.FABRIC),
        (batch_job(code=74, reason=EXITED), False, State.FAILED, Reason.INFRA, Exit.FAILED),
        (batch_job(code=75, reason=EXITED), False, State.STOPPED, Reason.PREEMPTED, Exit.STOPPED),
        (batch_job(code=0, reason="something"), False, State.FAILED, Reason.INFRA, Exit.FAILED),
        (batch_job(reason=HOST), False, State.FAILED, Reason.INFRA, Exit.FAILED),
        (batch_job(reason=HOST), True, State.STOPPED, Reason.PREEMPTED, Exit.STOPPED),
        (batch_job(code=137, reason=EXITED, container="OutOfMemoryError: killed"), False, State.FAILED, Reason.USER_ERROR, Exit.FAILED),
        (
            batch_job(reason="Task failed to start", container="CannotPullContainerError: no"),
            False,
            State.FAILED,
            Reason.USER_ERROR,
            Exit.FAILED,
        ),
        (batch_job(code=143, reason=OVER), False, State.FAILED, Reason.TIMEOUT, Exit.TIMEOUT),
        (batch_job(code=143, reason=OVER, tags={"limit": "cost"}), False, State.FAILED, Reason.COST, Exit.FAILED),
        (batch_job(reason=f"{LIMIT}CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"), False, State.FAILED, Reason.CAPACITY, Exit.CAPACITY),
        (
            batch_job(reason=f"{LIMIT}MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"),
            False,
            State.FAILED,
            Reason.CAPACITY,
            Exit.CAPACITY,
        ),
        (batch_job(reason="VcpuLimitExceeded: you have requested more vCPU"), False, State.FAILED, Reason.QUOTA, Exit.QUOTA),
        (batch_job(code=75, reason=CANCELLED, isTerminated=True), False, State.CANCELLED, None, Exit.FAILED),
        (batch_job(code=143, reason="stopped in the console", isTerminated=True), False, State.CANCELLED, None, Exit.FAILED),
    ],
)
def test_a_batch_state_becomes_a_gpuyard_state(
    job: dict[str, Any], spot: bool, state: State, reason: Reason | None, exit_code: Exit | None
) -> None:
    found = status_of(job, spot=spot, console_url="https://console")
    assert (found.state, found.reason) == (state, reason)
    if state.ended or state is State.UNKNOWN:
        assert exit_for(found.state, found.reason) is exit_code
    assert found.console_url == "https://console"


def test_times_codes_and_details_are_in_the_status() -> None:
    found = status_of(batch_job(code=7, reason=EXITED), spot=False, console_url="")
    assert (found.exit_code, found.started_at, found.ended_at, found.detail) == (7, 1.0, 9.0, EXITED)
    waiting = status_of(batch_job("RUNNABLE", reason="CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - none"), spot=False, console_url="")
    assert waiting.detail == "RUNNABLE: CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - none"
    assert waiting.ended_at is None
    again = batch_job("RUNNABLE", attempts=[{"container": {"exitCode": 75}, "startedAt": 500}])
    recovering = status_of(again, spot=False, console_url="")
    assert recovering.state is State.RECOVERING  # not PENDING: queue_timeout is for the first nodes
    assert (recovering.detail or "").startswith("attempt 2 at the service")


def attempt(code: int | None, reason: str, seconds: int) -> dict[str, Any]:
    return {"container": {} if code is None else {"exitCode": code}, "startedAt": 0, "stoppedAt": seconds * 1000, "statusReason": reason}


def test_the_reasons_of_batchs_own_retries_are_reported() -> None:
    before = [attempt(75, EXITED, 5), attempt(None, HOST, 5), attempt(69, EXITED, 5)]
    last = batch_job(code=75, reason=EXITED)
    ended = status_of({**last, "attempts": [*before, *last["attempts"]]}, spot=False, console_url="")
    assert (ended.reason, ended.restarts) == (Reason.PREEMPTED, (Reason.PREEMPTED, Reason.INFRA, Reason.FABRIC))
    running = status_of({**batch_job("RUNNING"), "attempts": before[:1]}, spot=False, console_url="")
    assert running.restarts == (Reason.PREEMPTED,)


def test_batchs_attempts_share_one_time_limit() -> None:
    job = {**batch_job("RUNNING"), "startedAt": 1_000_000, "timeout": {"attemptDurationSeconds": 100}}
    assert not is_overtime(job, 1101)  # Batch itself limits the first attempt
    job["attempts"] = [attempt(75, EXITED, 60)]
    assert not is_overtime(job, 1039)
    assert is_overtime(job, 1041)
    assert not is_overtime({**job, "status": "RUNNABLE"}, 1041)
    assert not is_overtime(job, 1041 + 10 * 365 * 86400)  # this machine's clock is wrong


@pytest.mark.parametrize(
    ("attempts", "reason"),
    [
        (
            [attempt(75, EXITED, 60), attempt(124, EXITED, 60)],
            Reason.TIMEOUT,
        ),  # two attempts, 120 s of 200 in all, each counted in whole minutes
        ([attempt(75, EXITED, 20), attempt(124, EXITED, 20)], Reason.USER_ERROR),  # the script's own 124, long before the limit
        ([attempt(124, EXITED, 199)], Reason.USER_ERROR),  # Batch itself limits the time of the only attempt
    ],
)
def test_exit_code_124_after_several_attempts_is_a_timeout(attempts: list[dict[str, Any]], reason: Reason) -> None:
    found = status_of({**batch_job(code=124), "attempts": attempts, "timeout": {"attemptDurationSeconds": 200}}, spot=False, console_url="")
    assert (found.state, found.reason) == (State.FAILED, reason)


def test_a_machine_lost_before_its_container_starts() -> None:
    lost = {"container": {}, "statusReason": HOST}  # no times: nothing ran
    for spot, state, reason in ((True, State.STOPPED, Reason.PREEMPTED), (False, State.FAILED, Reason.INFRA)):
        found = status_of({**batch_job(), "attempts": [lost], "statusReason": HOST, "startedAt": None}, spot=spot, console_url="")
        assert (found.state, found.reason, found.started_at) == (state, reason, None)
    again = {**batch_job("RUNNING"), "startedAt": 1_000_000, "timeout": {"attemptDurationSeconds": 100}, "attempts": [lost]}
    assert not is_overtime(again, 1099)
    assert is_overtime(again, 1101)
