"""`gpuyard` as a pipeline on SageMaker runs it: a process of its own, targets from the run bucket, standard endpoint variables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.aws.botocore_service import DENIED, Fault, RefusalError
from tests.fakes.aws.moto_server import KEY_ID, SECRET_KEY
from tests.helpers.cli_process import Done, json_output, publish, run_gpuyard, write_code, write_job
from tests.helpers.sagemaker_pool import Yard, target_document, yard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a host address of its own and PR_SET_PDEATHSIG are Linux's")
SCRIPT = "import os, sys; print('rank', os.environ['RANK'], flush=True); sys.exit(int(sys.argv[1]))"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch) as found:
        publish("s3://runs", {"h100": target_document()})
        write_code(tmp_path, SCRIPT)
        yield found


def gpuyard(service: Yard, *arguments: str) -> Done:
    return run_gpuyard(service.folder, "s3://runs", *arguments, never=(KEY_ID, SECRET_KEY))


def own_job(service: Yard, code: int) -> str:
    return write_job(service.folder, code, nproc_per_node=1, code="code")


def test_a_pipeline_submits_waits_reads_and_fetches(service: Yard) -> None:
    done = gpuyard(service, "submit", own_job(service, 0), "--request-key", "2026-11-22", "--wait", "--json")
    assert done.returncode == 0, done.stderr + service.logs.text()
    submitted = json_output(done)
    run = submitted["run_id"]
    assert (submitted["created"], submitted["status"]["state"], submitted["status"]["service"]["kind"]) == (True, "SUCCEEDED", "sagemaker")
    assert submitted["status"]["service"]["console_url"].endswith(submitted["status"]["service"]["id"])
    again = gpuyard(service, "submit", own_job(service, 0), "--request-key", "2026-11-22", "--json")
    assert (again.returncode, json_output(again)["created"]) == (0, False)
    listed = json_output(gpuyard(service, "list", "--json"))
    assert [(entry["run_id"], entry["state"], entry["pool"]) for entry in listed["runs"]] == [(run, "SUCCEEDED", "h100")]
    status = json_output(gpuyard(service, "status", run, "--json"))
    assert status["service"] == submitted["status"]["service"]
    logs = gpuyard(service, "logs", run)
    assert "rank 0" in logs.stdout
    assert "rank 1" in logs.stdout
    fetched = gpuyard(service, "fetch", run, "--into", "into")
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads((service.folder / "into/output/attempt-1/node-1.json").read_text())["exit_code"] == 0
    assert len(service.sagemaker.jobs) == 1


def test_the_jobs_own_exit_code_is_in_the_document(service: Yard) -> None:
    done = gpuyard(service, "submit", own_job(service, 7), "--wait", "--json")
    status = json_output(done)["status"]
    assert (done.returncode, status["state"], status["reason"], status["exit_code"]) == (1, "FAILED", "user_error", 7)


QUOTA = Fault(RefusalError("ResourceLimitExceeded", "The account-level service limit is 0 Instances"))


@pytest.mark.parametrize(("fault", "code", "message"), [(DENIED, 5, "not authorized"), (QUOTA, 4, "account-level service limit")])
def test_a_refusal_has_an_exit_code_and_a_message(service: Yard, fault: Fault, code: int, message: str) -> None:
    service.sagemaker.fail("CreateTrainingJob", fault)
    done = gpuyard(service, "submit", own_job(service, 0), "--json")
    assert done.returncode == code, done.stderr
    assert json_output(done)["exit_code"] == code
    assert message in done.stderr
    assert service.sagemaker.jobs == {}


def test_missing_machines_and_a_dry_run(service: Yard) -> None:
    service.sagemaker.machines = 0
    service.sagemaker.longest_pending_s = lambda stopping: 1.0
    planned = gpuyard(service, "submit", own_job(service, 0), "--dry-run", "--json")
    (request,) = json_output(planned)["requests"]
    assert (request["operation"], request["body"]["ResourceConfig"]["InstanceCount"]) == ("CreateTrainingJob", 2)
    assert service.sagemaker.jobs == {}
    done = gpuyard(service, "submit", own_job(service, 0), "--wait", "--json")
    assert (done.returncode, json_output(done)["status"]["reason"]) == (3, "capacity")
