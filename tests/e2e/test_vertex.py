"""Jobs on 2 Vertex AI replicas with the real launch and trainer, checkpoints on GCS, a preemption, and `gpuyard` as a pipeline runs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.store import read_url
from tests.fakes.gcp.secret_manager import FakeSecrets
from tests.fakes.gcp.vertex_endpoints import DENIED, QUOTA, Fault
from tests.fakes.gcp.workload_identity import SUBJECT_TOKEN
from tests.helpers.cli_process import Done, json_output, publish, run_gpuyard, write_code, write_job
from tests.helpers.secret_scan.gcp import SECRET, check_no_secret
from tests.helpers.trainer_jobs import check_node_lines, check_resumed, trainer_job
from tests.helpers.vertex_pool import Yard, target_document, yard
from tests.helpers.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="a replica's address of its own and PR_SET_PDEATHSIG are Linux's"),
    pytest.mark.timeout(900),  # on a busy machine
]
STEPS, SAVED = 120, 40
NAME = "projects/acme-ml/secrets/wandb/versions/3"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, grace_s=120) as found, FakeSecrets({NAME: SECRET.encode()}) as vault:
        vault.accepts = found.tokens.is_valid
        found.vertex.environment |= vault.environment()
        yield found


def test_spot_replicas_are_preempted_resume_and_the_result_is_fetched(service: Yard, tmp_path: Path) -> None:
    runner = service.runner(spot=True, strategy="spot", secrets={"wandb": NAME})
    job = trainer_job(STEPS, SAVED)
    run = runner.submit(job, None, key="nightly").status.run_id
    (name,) = service.vertex.jobs
    first_save = f"gs://runs/gpuyard/runs/{run}/checkpoints/{SAVED}/commit-1.json"
    wait_for(lambda: read_url(first_save), service.logs.text)
    service.vertex.preempt(name)
    status = check_resumed(runner, run, job, STEPS, tmp_path / "into", service.logs.text)
    assert "resumed from step" in service.logs.text()
    assert service.vertex.count("CreateCustomJob") == 2  # Vertex AI restarts nothing: each attempt is a separate job
    check_node_lines(runner, run, attempt=2)
    check_no_secret(service, status.model_dump_json())


# A user's own script: it proves that it has the secret without printing it, and exits with the given code.
SCRIPT = """
import os, sys
assert len(os.environ["TOKEN"]) == 28
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], "has it", flush=True)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def pipeline(service: Yard) -> Yard:
    publish("gs://runs", {"l4": target_document(secrets={"wandb": NAME})})
    write_code(service.folder, SCRIPT)
    return service


def gpuyard(service: Yard, *arguments: str) -> Done:
    return run_gpuyard(service.folder, "gs://runs", *arguments, never=(SUBJECT_TOKEN, "ya29.", SECRET))


def own_job(service: Yard, code: int) -> str:
    return write_job(service.folder, code, nproc_per_node=1, code="code", secrets={"TOKEN": "wandb"})


def test_a_pipeline_submits_waits_reads_and_fetches(pipeline: Yard) -> None:
    done = gpuyard(pipeline, "submit", own_job(pipeline, 0), "--request-key", "2026-11-22", "--wait", "--json")
    assert done.returncode == 0, done.stderr + pipeline.logs.text()
    submitted = json_output(done)
    run = submitted["run_id"]
    assert (submitted["created"], submitted["status"]["state"], submitted["status"]["service"]["kind"]) == (True, "SUCCEEDED", "vertex")
    assert "/training/" in submitted["status"]["service"]["console_url"]
    again = gpuyard(pipeline, "submit", own_job(pipeline, 0), "--request-key", "2026-11-22", "--json")
    assert (again.returncode, json_output(again)["created"]) == (0, False)
    listed = json_output(gpuyard(pipeline, "list", "--json"))
    assert [(entry["run_id"], entry["state"], entry["pool"]) for entry in listed["runs"]] == [(run, "SUCCEEDED", "l4")]
    logs = gpuyard(pipeline, "logs", run)
    assert all(f"rank {rank} of 2 has it" in logs.stdout for rank in (0, 1))
    fetched = gpuyard(pipeline, "fetch", run, "--into", "into")
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads((pipeline.folder / "into/output/attempt-1/node-1.json").read_text())["exit_code"] == 0
    assert len(pipeline.vertex.jobs) == 1
    check_no_secret(pipeline, done.stdout, done.stderr, logs.stdout, fetched.stderr)


@pytest.mark.parametrize(("fault", "code", "message"), [(DENIED, 5, "customJobs.create"), (QUOTA, 4, "exceed quota limits")])
def test_a_refusal_has_an_exit_code_and_a_message(pipeline: Yard, fault: Fault, code: int, message: str) -> None:
    pipeline.vertex.fail("CreateCustomJob", fault)
    done = gpuyard(pipeline, "submit", own_job(pipeline, 0), "--json")
    assert done.returncode == code, done.stderr
    assert json_output(done)["exit_code"] == code
    assert message in done.stderr
    assert pipeline.vertex.jobs == {}


def test_the_jobs_own_exit_code_and_missing_machines(pipeline: Yard) -> None:
    failed = gpuyard(pipeline, "submit", own_job(pipeline, 7), "--wait", "--json")
    status = json_output(failed)["status"]
    assert (failed.returncode, status["state"], status["reason"], status["exit_code"]) == (1, "FAILED", "user_error", 7)
    planned = gpuyard(pipeline, "submit", own_job(pipeline, 0), "--dry-run", "--json")
    (request,) = json_output(planned)["requests"]
    assert (request["operation"], len(request["body"]["customJob"]["jobSpec"]["workerPoolSpecs"])) == ("CreateCustomJob", 2)
    pipeline.vertex.machines, pipeline.vertex.stockout_s = 0, 1.0
    done = gpuyard(pipeline, "submit", own_job(pipeline, 0), "--wait", "--json")
    assert (done.returncode, json_output(done)["status"]["reason"]) == (3, "capacity")
