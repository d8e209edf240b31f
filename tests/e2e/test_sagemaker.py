"""Jobs on 2 SageMaker hosts with the real launch and trainer, checkpoints on S3, a spot interruption, and no secret anywhere."""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from gpuyard.training_jobs.errors import GpuyardError
from gpuyard.training_jobs.spec import parse_job
from gpuyard.training_jobs.state import Exit, Reason, State, exit_for
from gpuyard.training_jobs.status import RunStatus
from gpuyard.training_jobs.store import read_url
from tests.helpers.cli_process import write_code
from tests.helpers.sagemaker_pool import Yard, yard
from tests.helpers.secret_scan.aws import SECRET, check_no_secret
from tests.helpers.trainer_jobs import check_node_lines, check_resumed, submit_own_script, trainer_job
from tests.helpers.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="a host address of its own and PR_SET_PDEATHSIG are Linux's"),
    pytest.mark.timeout(900),  # on a busy machine
]
STEPS, SAVED = 120, 40


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, grace_s=120) as found:
        yield found


def no_secret_anywhere(service: Yard, *texts: str) -> None:
    """Fail if a secret is found, also in the environment of the containers."""
    documents = [json.dumps(job.body) for job in service.sagemaker.jobs.values()]
    check_no_secret((service.sagemaker, service.logs), service.logs.text(), *documents, *texts)


@pytest.mark.thorough  # the trainer is preempted on AWS Batch, Vertex AI and Azure ML in every test run
def test_spot_hosts_are_interrupted_resume_and_the_result_is_fetched(service: Yard, tmp_path: Path) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="wandb", SecretString=SECRET)["ARN"]
    runner = service.runner(spot=True, secrets={"wandb": arn})
    job = trainer_job(STEPS, SAVED)
    run = runner.submit(job, None, key="nightly").status.run_id
    (name,) = service.sagemaker.jobs
    first_save = f"s3://runs/gpuyard/runs/{run}/checkpoints/{SAVED}/commit-1.json"
    wait_for(lambda: read_url(first_save), service.logs.text)
    service.sagemaker.interrupt(name)
    status = check_resumed(runner, run, job, STEPS, tmp_path / "into", service.logs.text)
    assert "resumed from step" in service.logs.text()
    check_node_lines(runner, run, attempt=2)
    assert service.sagemaker.count("CreateTrainingJob") == 1
    assert SAVED <= (status.attempts[0].step or 0) < STEPS
    no_secret_anywhere(service)


def test_a_script_that_fails_on_one_host_ends_with_its_code_and_shows_no_secret(service: Yard, tmp_path: Path) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="token", SecretString=SECRET)["ARN"]
    runner = service.runner(secrets={"token": arn})
    run = submit_own_script(runner, tmp_path, 7)
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.FAILED, 7, Exit.FAILED), service.logs.text()
    assert {line.node for line in runner.logs(run)} == {0, 1}
    assert all(f"rank {rank} of 4 has it" in service.logs.text() for rank in range(4))
    no_secret_anywhere(service, status.model_dump_json())


def test_an_unreadable_secret_is_a_bad_configuration_and_is_not_shown(service: Yard, tmp_path: Path) -> None:
    missing = "arn:aws:secretsmanager:us-east-1:123456789012:secret:gone-AbCdEf"
    runner = service.runner(secrets={"token": missing})
    run = submit_own_script(runner, tmp_path, 0)
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.FAILED, 64, Exit.FAILED), service.logs.text()
    assert "ResourceNotFoundException" in " ".join(status.attempts[-1].tail)
    service.moto.fail(lambda method, path: ("403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"))
    with pytest.raises(GpuyardError) as refused:
        runner.status(run)
    service.moto.fail(lambda method, path: None)
    no_secret_anywhere(service, status.model_dump_json(), str(refused.value))


# It reaches no service, but it has its code and writes output.
ALONE = """
import os, sys
assert not [name for name in os.environ if name.startswith("AWS_") and name not in ("AWS_REGION", "AWS_DEFAULT_REGION")]
with open(os.environ["GPUYARD_OUTPUT_URL"].removeprefix("file://") + "/of-" + os.environ["GPUYARD_NODE_RANK"], "w") as left:
    left.write("mine")
print("node", os.environ["GPUYARD_NODE_RANK"], "is alone", flush=True)
sys.exit(int(sys.argv[1]))
"""


def test_containers_without_a_network_get_their_code_and_their_output_is_fetched(service: Yard, tmp_path: Path) -> None:
    code_folder = write_code(tmp_path, ALONE)
    runner = service.runner(network_isolation=True)

    def end(code: int, nodes: int) -> RunStatus:
        keys = {"name": "alone", "nodes": nodes, "launcher": "none", "preflight": "skip", "command": ["python3", "script.py", str(code)]}
        return runner.wait(runner.submit(parse_job(keys), code_folder).status.run_id)

    status = end(0, nodes=2)
    assert (status.state, status.exit_code) == (State.SUCCEEDED, 0), service.logs.text()
    assert sorted(line.text for line in runner.logs(status.run_id) if "is alone" in line.text) == ["node 0 is alone", "node 1 is alone"]
    [packed] = [name for name in runner.fetch(status.run_id, tmp_path / "into") if name.endswith("output.tar.gz")]
    with tarfile.open(tmp_path / "into" / packed) as tar:
        assert {"output/of-0", "output/of-1", "output/attempt-1/node-1.json", "attempts/1.json"} <= set(tar.getnames())
    failed = end(7, nodes=1)
    assert (failed.state, failed.reason, failed.exit_code) == (State.FAILED, Reason.USER_ERROR, 7), service.logs.text()
