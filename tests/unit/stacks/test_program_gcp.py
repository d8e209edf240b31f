"""The stock program on GCP: both stack files have a plan without a violation, and export what users and pipelines need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpuyard.stacks.cli.plan import plan
from gpuyard.stacks.cli.pulumi_project import load_project
from gpuyard.stacks.program import declare
from gpuyard.stacks.settings import load

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("stack", ["dev-gcp", "prod-gcp"])
def test_a_stack_file_has_a_plan_without_a_violation(stack: str) -> None:
    document = plan(stack, ROOT)
    assert [verdict for verdict in document.policy if verdict.outcome == "violated"] == []
    assert document.money.idle.high is not None  # the price of every standing resource is known


@pytest.mark.parametrize("preview", [False, True])
def test_the_exports_of_prod_gcp(record: Any, preview: bool) -> None:
    project = load_project(ROOT, "prod-gcp")
    recorded = record(lambda: declare(load(project.config, stack="prod-gcp")), preview=preview, config=project.config)
    assert set(recorded.exports) | recorded.unknown == {
        "yard",
        "job_targets",
        "launchers",
        "submitter_role",
        "submitter_provider",
        "image_repository",
    }
    if not preview:
        assert recorded.exports["job_targets"]["h200"]["kind"] == "vertex"
        assert recorded.exports["submitter_provider"] is not None


def test_without_submitters_no_submitter_is_exported(record: Any) -> None:
    project = load_project(ROOT, "dev-gcp")
    recorded = record(lambda: declare(load(project.config, stack="dev-gcp")), config=project.config)
    assert not {"submitter_role", "submitter_provider"} & (set(recorded.exports) | recorded.unknown)


def test_mail_is_a_key_of_the_stack_file(record: Any) -> None:
    project = load_project(ROOT, "prod-gcp")
    config = {**project.config, "gpuyard:notify": json.dumps({"email": ["ml@acme.io"]})}
    recorded = record(lambda: declare(load(config, stack="prod-gcp")), config=config)
    names = {request.name for request in recorded.resources.values()}
    assert {"notify-topic", "notify-failed", "notify-stopped", "notify-blocked"} <= names
