"""Two Vertex replicas with the real launch and trainer, checkpoints on GCS, a spot machine taken midway; a pipeline's view of it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gcp.scan import SECRET, scan
from tests.support.gcp.secrets import FakeSecrets
from tests.support.gcp.tokens import SUBJECT_TOKEN
from tests.support.gcp.vertex_doors import DENIED, QUOTA, Fault
from tests.support.gcp.vertex_yard import Yard, target_document, yard
from training_jobs.spec import JobSpec, parse_job
from training_jobs.state import Exit, Reason, State, exit_for
from training_jobs.store import open_store, read_url

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="a replica's address of its own and PR_SET_PDEATHSIG are Linux's"),
    pytest.mark.timeout(900),  # of a busy machine
]
ROOT = Path(__file__).resolve().parents[2]
STEPS, SAVED = 200, 50
SETTINGS = [
    f"steps={STEPS}", "batch=8", "context=32", "width=32", "layers=1", "corpus_bytes=400000", "val_bytes=8192",
    f"save_every_steps={SAVED}",
]  # fmt: skip
NAME = "projects/acme-ml/secrets/wandb/versions/3"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, grace_s=120) as found, FakeSecrets({NAME: SECRET.encode()}) as vault:
        vault.accepts = found.tokens.takes
        found.vertex.environment |= vault.environment()
        yield found


def wait_for(what: Callable[[], Any], say: Callable[[], str]) -> Any:
    deadline = time.monotonic() + 300
    while not (found := what()):
        assert time.monotonic() < deadline, say()
        time.sleep(0.05)
    return found


def trainer(**keys: Any) -> JobSpec:
    command = ["-m", "training_jobs.train", *SETTINGS]
    return parse_job({"name": "gpt", "nodes": 2, "nproc_per_node": 1, "command": command, "preflight": "skip", **keys})


def test_spot_replicas_train_are_taken_resume_and_their_result_is_read_back(service: Yard, tmp_path: Path) -> None:
    runner = service.runner(spot=True, strategy="spot", secrets={"wandb": NAME})
    run = runner.submit(trainer(secrets={"WANDB_API_KEY": "wandb"}), None, key="nightly").status.run_id
    (name,) = service.vertex.jobs
    wait_for(lambda: read_url(f"gs://runs/gpuyard/runs/{run}/checkpoints/{SAVED}/commit-1.json"), service.logs.text)
    service.vertex.preempt(name)
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.SUCCEEDED, 0, Exit.OK), service.logs.text()
    written = runner.fetch(run, tmp_path / "into")
    result = json.loads((tmp_path / "into/output/result.json").read_text())
    assert (result["attempt"], result["lost_steps"]) == (2, 0)
    assert f"checkpoints/{STEPS}/commit-2.json" in written
    assert "resumed from step" in service.logs.text()
    assert service.vertex.count("CreateCustomJob") == 2  # Vertex restarts nothing: each attempt is a job of ours
    assert (status.attempt, status.metrics.step) == (2, STEPS)
    first, second = status.attempts
    assert (first.attempt, first.state, first.reason, first.exit_code) == (1, State.STOPPED, Reason.PREEMPTED, 75)
    assert (second.attempt, second.state) == (2, State.SUCCEEDED)
    assert {line.node for line in runner.logs(run)} == {0, 1}
    again = runner.submit(trainer(secrets={"WANDB_API_KEY": "wandb"}), None, key="nightly")
    assert (again.created, again.note) == (False, "adopted: it is SUCCEEDED")
    scan(service, status.model_dump_json())


# A script of a user's own: proves that it has the secret without saying it, and ends as it was told.
SCRIPT = """
import os, sys
assert len(os.environ["TOKEN"]) == 28
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], "has it", flush=True)
sys.exit(int(sys.argv[1]))
"""
JOB = """\
name: own
nodes: 2
nproc_per_node: 1
code: code
command: [script.py, "{code}"]
secrets: {{TOKEN: wandb}}
preflight: skip
"""


@pytest.fixture
def pipeline(service: Yard) -> Yard:
    open_store("gs://runs").create("gpuyard/targets.json", json.dumps({"l4": target_document(secrets={"wandb": NAME})}).encode())
    (service.folder / "code").mkdir()
    (service.folder / "code/script.py").write_text(SCRIPT)
    return service


def gpuyard(service: Yard, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "GPUYARD_TARGETS": "gs://runs/gpuyard/targets.json"}
    command = [sys.executable, "-c", "from stacks.cli import main; main()", *arguments]
    done = subprocess.run(command, cwd=service.folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    for secret in (SUBJECT_TOKEN, "ya29.", SECRET):
        assert secret not in done.stdout + done.stderr
    return done


def write_job(service: Yard, code: int) -> str:
    (service.folder / f"job-{code}.yaml").write_text(JOB.format(code=code))
    return f"job-{code}.yaml"


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_pipeline_submits_waits_reads_and_fetches(pipeline: Yard) -> None:
    done = gpuyard(pipeline, "submit", write_job(pipeline, 0), "--request-key", "2026-11-22", "--wait", "--json")
    assert done.returncode == 0, done.stderr + pipeline.logs.text()
    submitted = document(done)
    run = submitted["run_id"]
    assert (submitted["created"], submitted["status"]["state"], submitted["status"]["service"]["kind"]) == (True, "SUCCEEDED", "vertex")
    assert "/training/" in submitted["status"]["service"]["console_url"]
    again = gpuyard(pipeline, "submit", write_job(pipeline, 0), "--request-key", "2026-11-22", "--json")
    assert (again.returncode, document(again)["created"]) == (0, False)
    listed = document(gpuyard(pipeline, "list", "--json"))
    assert [(entry["run_id"], entry["state"], entry["pool"]) for entry in listed["runs"]] == [(run, "SUCCEEDED", "l4")]
    logs = gpuyard(pipeline, "logs", run)
    assert all(f"rank {rank} of 2 has it" in logs.stdout for rank in (0, 1))
    fetched = gpuyard(pipeline, "fetch", run, "--into", "into")
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads((pipeline.folder / "into/output/attempt-1/node-1.json").read_text())["exit_code"] == 0
    assert len(pipeline.vertex.jobs) == 1
    scan(pipeline, done.stdout, done.stderr, logs.stdout, fetched.stderr)


@pytest.mark.parametrize(("fault", "code", "says"), [(DENIED, 5, "customJobs.create"), (QUOTA, 4, "exceed quota limits")])
def test_a_refusal_has_an_exit_code_and_a_sentence(pipeline: Yard, fault: Fault, code: int, says: str) -> None:
    pipeline.vertex.fail("CreateCustomJob", fault)
    done = gpuyard(pipeline, "submit", write_job(pipeline, 0), "--json")
    assert done.returncode == code, done.stderr
    assert document(done)["exit_code"] == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert pipeline.vertex.jobs == {}


def test_the_jobs_own_code_and_machines_that_never_come(pipeline: Yard) -> None:
    failed = gpuyard(pipeline, "submit", write_job(pipeline, 7), "--wait", "--json")
    status = document(failed)["status"]
    assert (failed.returncode, status["state"], status["reason"], status["exit_code"]) == (1, "FAILED", "user_error", 7)
    planned = gpuyard(pipeline, "submit", write_job(pipeline, 0), "--dry-run", "--json")
    (request,) = document(planned)["requests"]
    assert (request["operation"], len(request["body"]["customJob"]["jobSpec"]["workerPoolSpecs"])) == ("CreateCustomJob", 2)
    pipeline.vertex.machines, pipeline.vertex.stockout_s = 0, 1.0
    done = gpuyard(pipeline, "submit", write_job(pipeline, 0), "--wait", "--json")
    assert (done.returncode, document(done)["status"]["reason"]) == (3, "capacity")
