"""`gpuyard` as a pipeline on Azure runs it: a process of its own, signed in with a workflow's token, behind Azure's own host names."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.azure.entra import SIGNATURE, SUBJECT_TOKEN
from tests.fakes.azure.https_service import DENIED, Fault, RefusalError
from tests.helpers.azureml_pool import Yard, target_document, yard
from tests.helpers.cli_process import ROOT, Done, json_output, publish, run_gpuyard, write_job
from tests.helpers.pipeline_schedulers import check_permissions, install_programs, run_workflow, token_service

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a node address of its own and PR_SET_PDEATHSIG are Linux's")
RECIPE = ROOT / "examples/pipelines/github-nightly-azure.yml"
SMALL = {"machine": "Standard_D4s_v5", "accelerator": None, "gpus_per_node": 0, "nics_per_node": 0}
PLAIN = {"launcher": "none", "preflight": "skip", "nodes": 2}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch) as found:
        publish(found.storage.url, {"h100": target_document(found.storage.url, **SMALL)})
        yield found


def gpuyard(service: Yard, *arguments: str) -> Done:
    return run_gpuyard(service.folder, service.storage.url, *arguments, never=(SIGNATURE, SUBJECT_TOKEN, "sig="))


def own_job(service: Yard, code: int) -> str:
    message = "echo node $GPUYARD_NODE_RANK of ${WORLD_SIZE:-nobody}; exit $0"
    return write_job(service.folder, code, **PLAIN, command=["sh", "-c", message])


@pytest.mark.thorough
def test_a_pipeline_submits_waits_reads_and_fetches(service: Yard) -> None:
    done = gpuyard(service, "submit", own_job(service, 0), "--request-key", "2026-11-22", "--wait", "--json")
    assert done.returncode == 0, done.stderr + service.ml.text()
    submitted = json_output(done)
    run = submitted["run_id"]
    assert (submitted["created"], submitted["status"]["state"], submitted["status"]["service"]["kind"]) == (True, "SUCCEEDED", "azureml")
    listed = json_output(gpuyard(service, "list", "--json"))
    assert [(entry["run_id"], entry["state"], entry["pool"]) for entry in listed["runs"]] == [(run, "SUCCEEDED", "h100")]
    logs = gpuyard(service, "logs", run)
    assert "node 0 of nobody" in logs.stdout  # the number of nodes is not the number of processes
    assert "node 1 of nobody" in logs.stdout
    fetched = gpuyard(service, "fetch", run, "--into", "into")
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads((service.folder / "into/output/attempt-1/node-1.json").read_text())["exit_code"] == 0
    assert (len(service.ml.jobs), service.storage.proxy.refused) == (1, [])


QUOTA = Fault(RefusalError(409, "QuotaExceeded", "The subscription has too many jobs"))


def test_exit_codes_and_messages_of_failed_jobs_and_refusals(service: Yard) -> None:
    done = gpuyard(service, "submit", own_job(service, 7), "--wait", "--json")
    status = json_output(done)["status"]
    assert (done.returncode, status["state"], status["reason"], status["exit_code"]) == (1, "FAILED", "user_error", 7)
    for fault, code, message in ((DENIED, 5, "does not have authorization"), (QUOTA, 4, "too many jobs")):
        service.ml.fail("put_job", fault)
        done = gpuyard(service, "submit", own_job(service, code), "--json")
        assert (done.returncode, json_output(done)["exit_code"]) == (code, code), done.stderr
        assert message in done.stderr
    planned = gpuyard(service, "submit", own_job(service, 0), "--dry-run", "--json")
    environment, job = json_output(planned)["requests"]
    assert (environment["body"]["properties"]["isAnonymous"], job["body"]["properties"]["resources"]["instanceCount"]) == (True, 2)
    assert len(service.ml.jobs) == 1


@pytest.mark.thorough
def test_three_runs_of_github_actions_submit_one_job_with_the_workflows_identity(service: Yard, tmp_path: Path) -> None:
    service.ml.machines = 0  # submitted jobs wait
    programs, site = tmp_path / "bin", tmp_path / "nightly"
    programs.mkdir()
    shutil.copytree(RECIPE.parent, site)
    (site / "nightly.yaml").write_text(json.dumps({"name": "nightly", **PLAIN, "command": ["true"]}))
    recipe = tmp_path / "workflow.yml"
    recipe.write_text(RECIPE.read_text().replace("abfs://runs@acmeprodruns.dfs.core.windows.net", service.storage.url))
    for name, script in {
        "gpuyard": f'PYTHONPATH={ROOT} exec {sys.executable} -c "from gpuyard.stacks.cli import main; main()" "$@"',
        "gh": f'[ "$GH_TOKEN $1 $2 $3" = "of-github repo clone acme/training" ] && cp -r {site}/. .',
        "sleep": "exit 0",
    }.items():  # fmt: skip
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    install_programs(programs, tmp_path / "installed")
    bare = {**service.storage.proxy.environment(), "HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"}
    text = recipe.read_text()
    text = re.sub(r"AZURE_CLIENT_ID: \S+", f"AZURE_CLIENT_ID: {os.environ['AZURE_CLIENT_ID']}", text)
    recipe.write_text(re.sub(r"AZURE_TENANT_ID: \S+", f"AZURE_TENANT_ID: {os.environ['AZURE_TENANT_ID']}", text))
    documents = []
    with token_service("api://AzureADTokenExchange", SUBJECT_TOKEN) as tokens:
        for _ in range(3):
            code, workspace, output = run_workflow(recipe, tmp_path, bare, tokens)
            assert code == 0, output
            documents.append(json.loads((workspace / "run.json").read_text()))
            assert SUBJECT_TOKEN not in output
    assert [each["created"] for each in documents] == [True, False, False]
    assert len({each["run_id"] for each in documents}) == len(service.ml.jobs) == 1
    assert any(line.endswith("requirements-azure.lock") for line in (tmp_path / "installed").read_text().splitlines())
    check_permissions(RECIPE)
    assert service.storage.proxy.refused == []
