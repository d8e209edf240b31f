"""The recipes of examples/pipelines on GCP as their schedulers run them, against the fakes: three runs submit one job."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.gcp.workload_identity import GITHUB_TOKEN
from tests.helpers.pipeline_schedulers import check_permissions, install_programs, parse_crontab, run_command, run_workflow, token_service
from tests.helpers.vertex_pool import Yard, target_document, yard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the shells and variables are those of Linux machines")
ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "examples" / "pipelines"
JOB = "name: nightly\nlauncher: none\npreflight: skip\ncommand: [python3, -c, 'print(1)']\n"
BUCKET = "acme-prod-runs"
TARGETS = f"gs://{BUCKET}/gpuyard/targets.json"
WORKFLOW: dict[str, Any] = yaml.safe_load((RECIPES / "github-nightly-gcp.yml").read_text())
STEPS: dict[str, Any] = WORKFLOW["jobs"]["submit"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch) as found:
        found.vertex.machines = 0  # submitted jobs wait
        found.storage.buckets[BUCKET] = {}
        found.storage.put(BUCKET, "gpuyard/targets.json", json.dumps({"l4": target_document(run_bucket=f"gs://{BUCKET}")}).encode())
        shutil.copytree(RECIPES, tmp_path / "nightly")
        (tmp_path / "nightly/nightly.yaml").write_text(JOB)
        (tmp_path / "bin").mkdir()
        run = f'exec {sys.executable} -c "from gpuyard.stacks.cli import main; main()" "$@"'
        install_programs(tmp_path / "bin", tmp_path / "installed")
        clone = f'[ "$GH_TOKEN $1 $2 $3" = "of-github repo clone acme/training" ] && cp -r {tmp_path}/nightly/. .'
        for name, script in {"gpuyard": f"PYTHONPATH={ROOT} {run}", "sleep": "exit 0", "gh": clone}.items():
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        yield found


def bare(site: Yard) -> dict[str, str]:
    """Return the environment of a process without credentials: the endpoints only."""
    names = ("CLOUDSDK_API", "STORAGE_", "GRPC_", "NO_GCE")
    found = {name: value for name, value in os.environ.items() if name.startswith(names)}
    return {**found, "HOME": str(site.folder), "PATH": f"{site.folder}/bin:/usr/bin:/bin"}


def test_three_runs_of_cron_submit_one_job(site: Yard) -> None:
    folder = site.folder / "nightly"
    text = (folder / "crontab").read_text().replace("s3://", "gs://").replace("/opt/gpuyard/bin", str(site.folder / "bin"))
    variables, [(_, command)] = parse_crontab(text.replace("/srv/nightly", str(folder)))
    assert variables["GPUYARD_TARGETS"] == TARGETS
    signed_in = {"GOOGLE_APPLICATION_CREDENTIALS": os.environ["GOOGLE_APPLICATION_CREDENTIALS"]}
    documents = []
    for _ in range(3):
        done = run_command([variables["SHELL"], "-c", command], site.folder, {**bare(site), **signed_in, **variables})
        assert done.returncode == 0, done.stderr
        documents.append(json.loads((folder / "submitted.json").read_text()))
    assert [document["created"] for document in documents] == [True, False, False]
    assert len({document["run_id"] for document in documents}) == len(site.vertex.jobs) == 1


@pytest.mark.thorough
def test_three_runs_of_github_actions_submit_one_job_as_the_submitter(site: Yard) -> None:
    documents = []
    site.vertex.accepts = site.storage.accepts = lambda token: site.tokens.became.get(token or "") == STEPS["env"]["SUBMITTER"]
    recipe = site.folder / "recipe.yml"
    hosts = r"https://(sts|iamcredentials)\.googleapis\.com"
    recipe.write_text(re.sub(hosts, site.tokens.url, (RECIPES / "github-nightly-gcp.yml").read_text()))
    with token_service(f"https://iam.googleapis.com/{STEPS['env']['PROVIDER']}") as tokens:
        for _ in range(3):
            code, workspace, output = run_workflow(recipe, site.folder, bare(site), tokens)
            assert code == 0, output
            documents.append(json.loads((workspace / "run.json").read_text()))
            assert GITHUB_TOKEN not in output
            assert "ya29." not in output
            assert oct((workspace.parent / "google.json").stat().st_mode)[-3:] == "600"
    assert [document["created"] for document in documents] == [True, False, False]
    assert len({document["run_id"] for document in documents}) == len(site.vertex.jobs) == 1


def test_the_workflow_has_only_the_permissions_it_needs() -> None:
    assert check_permissions(RECIPES / "github-nightly-gcp.yml")["env"]["GPUYARD_TARGETS"] == TARGETS
