"""Two SageMaker hosts with the real launch and trainer, checkpoints on S3, spot machines taken midway; then nothing secret anywhere."""

from __future__ import annotations

import json
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support.aws.sagemaker_yard import Yard, yard
from tests.support.aws.scan import SECRET, scan
from training_jobs.errors import GpuyardError
from training_jobs.runner import Runner
from training_jobs.spec import JobSpec, parse_job
from training_jobs.state import Exit, Reason, State, exit_for
from training_jobs.status import RunStatus
from training_jobs.store import read_url

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="a host address of its own and PR_SET_PDEATHSIG are Linux's"),
    pytest.mark.timeout(900),  # of a busy machine
]
STEPS, SAVED = 200, 50
SETTINGS = [
    f"steps={STEPS}", "batch=8", "context=32", "width=32", "layers=1", "corpus_bytes=400000", "val_bytes=8192",
    f"save_every_steps={SAVED}",
]  # fmt: skip


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, grace_s=120) as found:
        yield found


def trainer(**keys: Any) -> JobSpec:
    command = ["-m", "training_jobs.train", *SETTINGS]
    return parse_job({"name": "gpt", "nodes": 2, "nproc_per_node": 1, "command": command, "preflight": "skip", **keys})


def wait_for(what: Callable[[], Any], say: Callable[[], str]) -> Any:
    deadline = time.monotonic() + 300
    while not (found := what()):
        assert time.monotonic() < deadline, say()
        time.sleep(0.05)
    return found


def no_secret_anywhere(service: Yard, *more: str) -> None:
    """Nor in what its containers were told."""
    told = [json.dumps(job.body) for job in service.sagemaker.jobs.values()]
    scan((service.sagemaker, service.logs), service.logs.text(), *told, *more)


def test_spot_hosts_train_are_taken_resume_and_their_result_is_read_back(service: Yard, tmp_path: Path) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="wandb", SecretString=SECRET)["ARN"]
    runner = service.runner(spot=True, secrets={"wandb": arn})
    run = runner.submit(trainer(secrets={"WANDB_API_KEY": "wandb"}), None, key="nightly").status.run_id
    (name,) = service.sagemaker.jobs
    first_save = f"s3://runs/gpuyard/runs/{run}/checkpoints/{SAVED}/commit-1.json"
    wait_for(lambda: read_url(first_save), service.logs.text)
    service.sagemaker.interrupt(name)
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.SUCCEEDED, 0, Exit.OK), service.logs.text()
    written = runner.fetch(run, tmp_path / "into")
    result = json.loads((tmp_path / "into/output/result.json").read_text())
    assert (result["attempt"], result["lost_steps"]) == (2, 0)
    assert f"checkpoints/{STEPS}/commit-2.json" in written
    assert "resumed from step" in service.logs.text()
    assert service.sagemaker.count("CreateTrainingJob") == 1
    assert (status.attempt, status.metrics.step) == (2, STEPS)
    first, second = status.attempts
    assert (first.attempt, first.state, first.reason, first.exit_code) == (1, State.STOPPED, Reason.PREEMPTED, 75)
    assert (second.attempt, second.state) == (2, State.SUCCEEDED)
    assert SAVED <= (first.step or 0) < STEPS
    again = runner.submit(trainer(secrets={"WANDB_API_KEY": "wandb"}), None, key="nightly")
    assert (again.created, again.note) == (False, "adopted: it is SUCCEEDED")
    no_secret_anywhere(service)


# A script of a user's own: proves that it has the secret without saying it, and ends as it was told when all have spoken.
SCRIPT = """
import os, sys, time
assert len(os.environ["TOKEN"]) == 28
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], "has it", flush=True)
open(os.path.join(os.environ["SPOKEN"], os.environ["RANK"]), "w").close()
while os.environ["RANK"] != "3" or len(os.listdir(os.environ["SPOKEN"])) < 4:
    time.sleep(0.02)
sys.exit(int(sys.argv[1]))
"""


def own_script(service: Yard, folder: Path, code: int, **changes: Any) -> tuple[Runner, str]:
    (folder / "code").mkdir()
    (folder / "code/script.py").write_text(SCRIPT)
    (folder / "spoken").mkdir()
    runner = service.runner(**changes)
    keys = {"name": "own", "command": ["script.py", str(code)], "secrets": {"TOKEN": "token"}, "nodes": 2, "nproc_per_node": 2}
    spec = parse_job({**keys, "preflight": "skip", "env": {"SPOKEN": str(folder / "spoken")}})
    return runner, runner.submit(spec, folder / "code").status.run_id


def test_a_script_that_fails_on_one_host_is_told_with_its_own_code_and_no_secret(service: Yard, tmp_path: Path) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="token", SecretString=SECRET)["ARN"]
    runner, run = own_script(service, tmp_path, 7, secrets={"token": arn})
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.FAILED, 7, Exit.FAILED), service.logs.text()
    assert {line.node for line in runner.logs(run)} == {0, 1}
    assert all(f"rank {rank} of 4 has it" in service.logs.text() for rank in range(4))
    no_secret_anywhere(service, status.model_dump_json())


def test_a_secret_that_cannot_be_read_is_a_bad_configuration_and_is_not_shown(service: Yard, tmp_path: Path) -> None:
    missing = "arn:aws:secretsmanager:us-east-1:123456789012:secret:gone-AbCdEf"
    runner, run = own_script(service, tmp_path, 0, secrets={"token": missing})
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.FAILED, 64, Exit.FAILED), service.logs.text()
    assert "ResourceNotFoundException" in " ".join(status.attempts[-1].tail)
    service.moto.fail(lambda method, path: ("403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"))
    with pytest.raises(GpuyardError) as refused:
        runner.status(run)
    service.moto.fail(lambda method, path: None)
    no_secret_anywhere(service, status.model_dump_json(), str(refused.value))


# Reaches nothing, has its code all the same, and leaves something.
ALONE = """
import os, sys
assert not [name for name in os.environ if name.startswith("AWS_") and name not in ("AWS_REGION", "AWS_DEFAULT_REGION")]
with open(os.environ["GPUYARD_OUTPUT_URL"].removeprefix("file://") + "/of-" + os.environ["GPUYARD_NODE_RANK"], "w") as left:
    left.write("mine")
print("node", os.environ["GPUYARD_NODE_RANK"], "is alone", flush=True)
sys.exit(int(sys.argv[1]))
"""


def test_containers_without_a_network_have_their_code_and_what_they_leave_is_fetched(service: Yard, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/script.py").write_text(ALONE)
    runner = service.runner(network_isolation=True)

    def end(code: int, nodes: int) -> RunStatus:
        keys = {"name": "alone", "nodes": nodes, "launcher": "none", "preflight": "skip", "command": ["python3", "script.py", str(code)]}
        return runner.wait(runner.submit(parse_job(keys), tmp_path / "code").status.run_id)

    status = end(0, nodes=2)
    assert (status.state, status.exit_code) == (State.SUCCEEDED, 0), service.logs.text()
    assert sorted(line.text for line in runner.logs(status.run_id) if "alone" in line.text) == ["node 0 is alone", "node 1 is alone"]
    [packed] = [name for name in runner.fetch(status.run_id, tmp_path / "into") if name.endswith("output.tar.gz")]
    with tarfile.open(tmp_path / "into" / packed) as tar:
        assert {"output/of-0", "output/of-1", "output/attempt-1/node-1.json", "attempts/1.json"} <= set(tar.getnames())
    failed = end(7, nodes=1)
    assert (failed.state, failed.reason, failed.exit_code) == (State.FAILED, Reason.USER_ERROR, 7), service.logs.text()
