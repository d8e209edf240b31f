"""The fake AWS Batch with real boto3: the rules it enforces, its states, and containers that really run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.fakes.aws.batch import FakeBatch
from tests.fakes.aws.batch_rules import decide
from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.helpers.waiting import wait_for

NEEDS = [{"type": "VCPU", "value": "4"}, {"type": "MEMORY", "value": "1000"}]


@pytest.fixture
def logs() -> Iterator[FakeLogs]:
    with FakeLogs() as logs:
        logs.group("/aws/batch/job")
        yield logs


@pytest.fixture
def fake(tmp_path: Path, logs: FakeLogs) -> Iterator[FakeBatch]:
    with FakeBatch(tmp_path, logs, speed=60, stop_s=1) as fake:
        fake.add_queue("q", nodes=3)
        fake.add_queue("spot", nodes=3, spot=True)
        fake.add_queue("shared", nodes=3, shared=True)
        yield fake


@pytest.fixture
def batch(fake: FakeBatch) -> Any:
    return boto3.client("batch", endpoint_url=fake.url, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s")


def container(code: str) -> dict[str, Any]:
    return {"image": "i", "command": ["python3", "-c", code], "resourceRequirements": NEEDS}


def define(batch: Any, code: str = "pass", nodes: int = 1, **more: Any) -> str:
    if nodes == 1:
        shape: dict[str, Any] = {"type": "container", "containerProperties": container(code)}
    else:
        group = {"targetNodes": "0:", "container": container(code)}
        shape = {"type": "multinode", "nodeProperties": {"numNodes": nodes, "mainNode": 0, "nodeRangeProperties": [group]}}
    return str(batch.register_job_definition(jobDefinitionName="d", **shape, **more)["jobDefinitionArn"])


def submit(batch: Any, definition: str = "d", queue: str = "q", **more: Any) -> str:
    return str(batch.submit_job(jobName="j", jobQueue=queue, jobDefinition=definition, **more)["jobId"])


def ended(batch: Any, job: str) -> dict[str, Any]:
    return until(batch, job, "SUCCEEDED", "FAILED")


def until(batch: Any, job: str, *states: str) -> dict[str, Any]:
    def told() -> dict[str, Any]:
        found: dict[str, Any] = batch.describe_jobs(jobs=[job])["jobs"][0]
        return found

    return wait_for(lambda: found if (found := told())["status"] in states else None, told)


TELL = """
import json, os, time, urllib.request
own = json.load(urllib.request.urlopen(os.environ["ECS_CONTAINER_METADATA_URI_V4"]))["Networks"][0]["IPv4Addresses"][0]
told = {name: value for name, value in os.environ.items() if name.startswith("AWS_BATCH") or name == "HELLO"}
print(json.dumps({"own": own, **told}), flush=True)
time.sleep(5 if os.environ["AWS_BATCH_JOB_NODE_INDEX"] == "0" else 0)  # its end is the others' too
"""


def test_each_node_gets_the_documented_variables(batch: Any, logs: FakeLogs) -> None:
    define(batch, TELL, nodes=2)
    more = [{"targetNodes": "0:", "containerOverrides": {"environment": [{"name": "HELLO", "value": "there"}]}}]
    job = submit(batch, nodeOverrides={"numNodes": 3, "nodePropertyOverrides": more})
    parent = ended(batch, job)
    assert parent["status"] == "SUCCEEDED"
    assert parent["nodeProperties"]["numNodes"] == 3
    children = batch.describe_jobs(jobs=[f"{job}#{index}" for index in range(4)])["jobs"]
    assert [child["nodeDetails"] for child in children] == [{"nodeIndex": index, "isMainNode": index == 0} for index in range(3)]
    streams = [child["container"]["logStreamName"] for child in children]
    # A child's output may arrive after the job's end.
    wait_for(lambda: all(logs.groups["/aws/batch/job"].get(stream) for stream in streams), lambda: logs.groups)
    said = [json.loads(logs.groups["/aws/batch/job"][stream][0]["message"]) for stream in streams]
    assert [node["AWS_BATCH_JOB_NODE_INDEX"] for node in said] == ["0", "1", "2"]
    assert {(node["AWS_BATCH_JOB_NUM_NODES"], node["AWS_BATCH_JOB_MAIN_NODE_INDEX"], node["HELLO"]) for node in said} == {
        ("3", "0", "there")
    }
    assert [node.get("AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS") for node in said] == [None, said[0]["own"], said[0]["own"]]
    assert len({node["own"] for node in said}) == 3


def test_a_container_job_gets_no_node_variables(batch: Any, logs: FakeLogs) -> None:
    define(batch, TELL)
    job = submit(batch)
    stream = ended(batch, job)["container"]["logStreamName"]
    said = json.loads(logs.groups["/aws/batch/job"][stream][0]["message"])
    assert {name for name in said if name.startswith("AWS_BATCH")} == {
        "AWS_BATCH_CE_NAME", "AWS_BATCH_JOB_ATTEMPT", "AWS_BATCH_JOB_ID", "AWS_BATCH_JQ_NAME",
    }  # fmt: skip
    assert batch.describe_jobs(jobs=[f"{job}#0"])["jobs"] == []


@pytest.mark.parametrize(
    ("code", "status", "exit_code"),
    [
        ("import os, sys, time; sys.exit(7) if os.environ['AWS_BATCH_JOB_NODE_INDEX'] == '0' else time.sleep(60)", "FAILED", 7),
        ("import os, sys, time; sys.exit(7) if os.environ['AWS_BATCH_JOB_NODE_INDEX'] == '1' else time.sleep(0.5)", "SUCCEEDED", 0),
    ],
)
def test_the_main_nodes_exit_ends_the_job(batch: Any, code: str, status: str, exit_code: int) -> None:
    define(batch, code, nodes=2)
    detail = ended(batch, submit(batch))
    assert (detail["status"], detail["attempts"][-1]["container"]["exitCode"]) == (status, exit_code)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"queue": "spot"}, "not supported on Spot"),
        ({"queue": "none"}, "not found"),
        ({"shareIdentifier": "nlp"}, "exactly when the job queue has a fair-share scheduling policy"),
        ({"queue": "shared", "schedulingPriorityOverride": 0}, "exactly when the job queue has a fair-share scheduling policy"),
        ({"queue": "shared", "shareIdentifier": "nlp"}, "Either schedulingPriority in job definition or"),
        ({"queue": "shared", "shareIdentifier": "n-l-p", "schedulingPriorityOverride": 0}, "alphanumeric"),
        ({"queue": "shared", "shareIdentifier": "nlp", "schedulingPriorityOverride": 10000}, "0 to 9999"),
        ({"definition": "other"}, "not found or not active"),
        ({"containerOverrides": {}}, "use nodeOverrides"),
        ({"nodeOverrides": {"nodePropertyOverrides": [{"targetNodes": "0:1"}]}}, "targets should match"),
        ({"timeout": {"attemptDurationSeconds": 59}}, "at least 60"),
        ({"retryStrategy": {"attempts": 11}}, r"1\.\.10"),
        ({"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onExitCode": "7*5", "action": "RETRY"}]}}, "pattern is not valid"),
        ({"tags": {f"t{index}": "x" for index in range(51)}}, "50"),
    ],
)
def test_batch_refuses_these_requests(batch: Any, body: dict[str, Any], said: str) -> None:
    define(batch, nodes=2)
    with pytest.raises(ClientError, match=said):
        submit(batch, **body)


def test_a_disabled_queue_takes_no_jobs(batch: Any, fake: FakeBatch) -> None:
    define(batch)
    fake.queues["q"].state = "DISABLED"
    with pytest.raises(batch.exceptions.ClientException, match="DISABLED"):
        submit(batch)
    assert batch.describe_job_queues(jobQueues=["q"])["jobQueues"][0]["state"] == "DISABLED"


def test_a_name_means_the_newest_active_revision(batch: Any) -> None:
    first, second = define(batch, "import sys; sys.exit(1)"), define(batch)
    assert ended(batch, submit(batch))["jobDefinition"] == second
    batch.deregister_job_definition(jobDefinition=second)
    assert ended(batch, submit(batch))["jobDefinition"] == first
    active = batch.describe_job_definitions(jobDefinitionName="d", status="ACTIVE")["jobDefinitions"]
    assert [definition["revision"] for definition in active] == [1]


def test_retries_by_exit_code_and_none_after_a_timeout(batch: Any) -> None:
    code = "import os, sys; sys.exit(75 if os.environ['AWS_BATCH_JOB_ATTEMPT'] == '1' else 7)"
    define(batch, code)
    rules = [{"onExitCode": "75", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
    detail = ended(batch, submit(batch, retryStrategy={"attempts": 4, "evaluateOnExit": rules}))
    assert [attempt["container"]["exitCode"] for attempt in detail["attempts"]] == [75, 7]
    define(batch, "import time; time.sleep(60)")
    detail = ended(batch, submit(batch, retryStrategy={"attempts": 4}, timeout={"attemptDurationSeconds": 60}))
    assert (detail["statusReason"], len(detail["attempts"])) == ("Job attempt duration exceeded timeout", 1)


def test_without_a_matching_rule_the_job_is_retried() -> None:
    rules = [{"onStatusReason": "Host EC2*", "action": "RETRY"}, {"onExitCode": "7*", "onReason": "boom", "action": "exit"}]
    assert decide(rules, None, None, "Host EC2 (instance i-1) terminated.") == "RETRY"
    assert decide(rules, 77, "boom", "") == "EXIT"
    assert decide(rules, 77, "other", "") == "RETRY"
    assert decide([{"onReason": "*", "action": "EXIT"}], 1, None, "") == "EXIT"


def test_a_lost_machine_has_no_exit_code(batch: Any, fake: FakeBatch) -> None:
    define(batch, "import time; time.sleep(60)", nodes=2)
    job = submit(batch)
    until(batch, job, "RUNNING")
    fake.lose(job, 0)
    detail = ended(batch, job)
    assert detail["statusReason"].startswith("Host EC2")
    assert "exitCode" not in detail["attempts"][0]["container"]


def test_terminate_ends_running_jobs_and_cancel_only_waiting_ones(batch: Any, fake: FakeBatch) -> None:
    define(batch, "import time; time.sleep(60)", nodes=3)
    running, waiting = submit(batch), submit(batch)
    until(batch, running, "RUNNING")
    batch.cancel_job(jobId=running, reason="no")
    batch.cancel_job(jobId=waiting, reason="no")
    assert ended(batch, waiting)["statusReason"] == "no"
    assert batch.describe_jobs(jobs=[running])["jobs"][0]["status"] == "RUNNING"
    batch.terminate_job(jobId=running, reason="enough")
    detail = ended(batch, running)
    assert (detail["statusReason"], detail["isTerminated"]) == ("enough", True)
    batch.terminate_job(jobId=running, reason="again")
    assert ended(batch, running)["statusReason"] == "enough"


def test_a_queues_time_limit_cancels_jobs_without_machines(batch: Any, fake: FakeBatch) -> None:
    reason = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
    fake.add_queue("dry", starved=True, limits=[{"reason": reason, "state": "RUNNABLE", "maxTimeSeconds": 60, "action": "CANCEL"}])
    define(batch)
    job = submit(batch, queue="dry")
    until(batch, job, "RUNNABLE")
    assert ended(batch, job)["statusReason"] == f"Canceled by JobStateTimeLimit action due to reason: {reason}"


def test_listings_take_one_filter_and_come_in_pages(batch: Any, fake: FakeBatch) -> None:
    define(batch, "import time; time.sleep(60)")
    jobs = [submit(batch) for _ in range(5)]
    by_name = [{"name": "JOB_NAME", "values": ["J"]}]
    with pytest.raises(ClientError, match="one filter"):
        batch.list_jobs(jobQueue="q", filters=by_name * 2)
    with pytest.raises(ClientError, match="exactly one"):
        batch.list_jobs(filters=by_name)
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = batch.list_jobs(jobQueue="q", filters=by_name, maxResults=2, **token)
        found += [job["jobId"] for job in page["jobSummaryList"]]
        assert len(page["jobSummaryList"]) <= 2
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == jobs
    with pytest.raises(ClientError, match="100"):
        batch.describe_jobs(jobs=["x"] * 101)
    until(batch, jobs[2], "RUNNING")
    assert [job["jobId"] for job in batch.list_jobs(jobQueue="q", jobStatus="RUNNABLE")["jobSummaryList"]] == jobs[3:]
    assert batch.list_jobs(multiNodeJobId=jobs[0])["jobSummaryList"] == []


def test_a_missing_command_does_not_start(batch: Any) -> None:
    properties = {**container("pass"), "command": ["/no/such/program"]}
    batch.register_job_definition(jobDefinitionName="d", type="container", containerProperties=properties)
    detail = ended(batch, submit(batch))
    assert detail["attempts"][0]["container"]["reason"].startswith("CannotStartContainerError")
