"""The fake SageMaker with real boto3: the rules it enforces, the ends of a job, and no process left alive."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.fakes.aws.sagemaker import GROUP, FakeSageMaker
from tests.helpers.waiting import wait_for

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSageMaker]:
    with FakeLogs() as logs, FakeSageMaker(tmp_path, logs, {"ROLE": "training"}, grace_s=10) as fake:
        yield fake


@pytest.fixture
def client(fake: FakeSageMaker) -> Any:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return boto3.client("sagemaker", endpoint_url=fake.url, **keys)


def body(name: str = "a", program: str = "pass", hosts: int = 2, run_s: int = 60, **more: Any) -> dict[str, Any]:
    packed = base64.b64encode(program.encode()).decode()  # an argument has at most 256 characters and no newline
    container = {
        "ContainerEntrypoint": ["python3", "-c", 'import base64,sys;exec(base64.b64decode("".join(sys.argv[1:])))'],
        "ContainerArguments": [packed[start : start + 256] for start in range(0, len(packed), 256)],
    }
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File", **container},
        "RoleArn": "arn:aws:iam::123456789012:role/training",
        "OutputDataConfig": {"S3OutputPath": "s3://runs/a"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": hosts, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": run_s},
        **more,
    }


def ended(client: Any, name: str = "a") -> dict[str, Any]:
    def told() -> dict[str, Any]:
        found: dict[str, Any] = client.describe_training_job(TrainingJobName=name)
        return found

    return wait_for(lambda: found if (found := told())["TrainingJobStatus"] in {"Completed", "Failed", "Stopped"} else None, told)


SAYS = """
import json, os
print(os.environ["ROLE"], os.environ["X"], json.loads(os.environ["SM_HOSTS"]).index(os.environ["SM_CURRENT_HOST"]))
"""


def test_each_host_is_a_process_with_the_services_variables(fake: FakeSageMaker, client: Any) -> None:
    client.create_training_job(**body(program=SAYS, Environment={"X": "y"}))
    found = ended(client)
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Completed", "Completed")
    assert found["TrainingStartTime"] <= found["TrainingEndTime"]
    assert sorted(fake.logs.text().splitlines()) == ["training y 0", "training y 1"]
    assert sorted(stream.split("-")[1] for stream in fake.logs.groups[GROUP]) == ["1", "2"]


def test_a_name_can_be_used_once(client: Any) -> None:
    client.create_training_job(**body())
    ended(client)
    with pytest.raises(client.exceptions.ResourceInUse, match="must be unique"):
        client.create_training_job(**body())


SPOT = {"EnableManagedSpotTraining": True}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (SPOT, "MaxWaitTimeInSeconds must be specified"),
        ({**SPOT, "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59}}, "equal to or greater"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}}, "must not be specified"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 29 * 86400}}, "at most 28 days"),
        ({"ResourceConfig": {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 1, "VolumeKmsKeyId": "k"}}, "local storage"),
        ({"ResourceConfig": {"InstanceCount": 1}}, "needs InstanceType"),
        ({"AlgorithmSpecification": {"TrainingImage": "pytorch/pytorch:2", "TrainingInputMode": "File"}}, "not in Amazon ECR"),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "Duplicate tag keys"),
        ({"Environment": {"X": "y" * 513}}, "length 513 is above 512"),
        ({"TrainingJobName": "a" * 64}, "length 64 is above 63"),
    ],
)
def test_the_documented_rules(fake: FakeSageMaker, client: Any, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ClientError, match=says) as refused:
        client.create_training_job(**{**body(), **more})
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert fake.jobs == {}


def test_the_first_failing_host_decides_and_ends_the_others(client: Any) -> None:
    program = """
import json, os, sys, time
if os.environ["SM_CURRENT_HOST"] != json.loads(os.environ["SM_HOSTS"])[1]:
    time.sleep(300)
sys.exit(7)
"""
    client.create_training_job(**body(program=program))
    found = ended(client)
    assert (found["TrainingJobStatus"], found["FailureReason"]) == ("Failed", "AlgorithmError: , exit code: 7")


LEAVES = """
import os, signal, sys, time
open("pid", "w").write(str(os.getpid()))
signal.signal(signal.SIGTERM, lambda *_: (print("leaves", flush=True), sys.exit(0)))
print("runs", flush=True)
time.sleep(300)
"""


def until_running(fake: FakeSageMaker, times: int = 2) -> None:
    wait_for(lambda: fake.logs.text().count("runs") >= times, fake.logs.text)


def test_a_stop_sends_sigterm_and_leaves_no_process(fake: FakeSageMaker, client: Any, tmp_path: Path) -> None:
    client.create_training_job(**body(program=LEAVES))
    until_running(fake)
    client.stop_training_job(TrainingJobName="a")
    found = ended(client)
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert fake.logs.text().count("leaves") == 2
    for pid in tmp_path.rglob("pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)
    with pytest.raises(ClientError, match="is in status Stopped"):
        client.stop_training_job(TrainingJobName="a")


def test_the_runtime_limit_stops_the_job(client: Any) -> None:
    client.create_training_job(**body(program=LEAVES, run_s=2))
    assert ended(client)["SecondaryStatus"] == "MaxRuntimeExceeded"


def test_spot_machines_are_interrupted_and_allocated_again(fake: FakeSageMaker, client: Any) -> None:
    stopping = {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}
    program = "import os\nif os.path.basename(os.getcwd()).startswith('1-'): raise SystemExit(print('again'))" + LEAVES
    client.create_training_job(**{**body(program=program, hosts=1), **SPOT, "StoppingCondition": stopping})
    until_running(fake, 1)
    fake.interrupt("a")
    assert ended(client)["TrainingJobStatus"] == "Completed"
    assert len(fake.logs.groups[GROUP]) == 2


def test_a_missing_job(client: Any) -> None:
    with pytest.raises(ClientError, match="Requested resource not found") as refused:
        client.describe_training_job(TrainingJobName="nope")
    assert refused.value.response["Error"]["Code"] == "ValidationException"
