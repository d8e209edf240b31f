"""Checks of a stack on Google Cloud against a project whose answers are in a table. Every call only reads."""

from __future__ import annotations

from typing import Any

import pytest

from gpuyard.components.planning.regions import default_regions
from gpuyard.components.planning.yard import RecordedYard
from gpuyard.stacks.checks import StackFacts
from gpuyard.stacks.checks.gcp import APIS, checks
from gpuyard.training_jobs.errors import AuthError, NotFoundError
from tests.helpers import committed_stacks

AGENT = "serviceAccount:service-1@gcp-sa-aiplatform.iam.gserviceaccount.com"
RESERVED: dict[str, Any] = {
    "specificReservation": {"count": "8", "inUseCount": "3", "instanceProperties": {"machineType": "a3-ultragpu-8g"}},
    "reservationSharingPolicy": {"serviceShareType": "ALLOW_ALL"},
}


def quota(identifier: str, metric: str, value: int, region: str = "us-east4", **dimensions: str) -> dict[str, Any]:
    row = {"dimensions": {"region": region, **dimensions}, "details": {"value": str(value)}, "applicableLocations": [region]}
    return {"quotaId": identifier, "metric": metric, "dimensionsInfos": [row]}


def h200(value: int) -> dict[str, Any]:
    return quota("CustomModelTrainingNvidiaH200", "aiplatform.googleapis.com/custom_model_training_nvidia_h200_gpus", value)


FAMILY = quota("GPUS-PER-GPU-FAMILY-per-project-region", "compute.googleapis.com/gpus_per_gpu_family", 32, gpu_family="NVIDIA_H200")
# What a path ends with (before its query) -> the answer. The first row that fits counts.
HEALTHY: dict[str, Any] = {
    "/projects/acme-ml-prod": {"projectId": "acme-ml-prod", "lifecycleState": "ACTIVE"},
    "/services": {"services": [{"config": {"name": f"{api}.googleapis.com"}} for api in APIS]},
    "aiplatform.googleapis.com/quotaInfos": {"quotaInfos": [h200(64)]},
    "compute.googleapis.com/quotaInfos": {"quotaInfos": [FAMILY]},
    ":getIamPolicy": {"bindings": [{"role": "roles/aiplatform.serviceAgent", "members": [AGENT]}]},
    ":getEffectivePolicy": {"spec": {"rules": [{"enforce": False}]}},
    "/reservations/h200-block": RESERVED,
    "/reservations/h200-research": RESERVED,
    "/instanceGroupManagers": {"items": [{"instanceLifecyclePolicy": {"defaultActionOnFailure": "REPAIR"}}]},
    "/b/acme-ml-datasets-use4": {"name": "acme-ml-datasets-use4"},
}


class Project:
    """Answers the calls of a test's project. A result that is an error is raised."""

    def __init__(self, **changes: Any) -> None:
        self.answers, self.calls = {**HEALTHY, **changes.pop("answers", {})}, list[tuple[str, Any]]()

    def read(self, service: str, path: str, body: Any = None) -> Any:
        self.calls.append((path, body))
        answer = next(answer for end, answer in self.answers.items() if path.partition("?")[0].endswith(end))
        if isinstance(answer, Exception):
            raise answer
        return answer


def found(project: Project, stack: str = "prod-gcp") -> dict[str, Any]:
    config, recording = committed_stacks.config(stack), committed_stacks.recorded(stack)
    facts = StackFacts(RecordedYard("gpuyard", stack, default_regions(config), recording), config, None)
    return {check.name: check for check in checks(facts, project)}  # type: ignore[arg-type]


def test_a_ready_project_and_read_only_calls() -> None:
    project = Project()
    result = found(project)
    assert {name: check.detail for name, check in result.items() if not check.ok} == {}
    assert {name.partition(" ")[0] for name in result} >= {"APIs", "quota", "agent", "policy", "reservation", "bucket", "targets.json"}
    assert all(body is None or path.endswith(":getIamPolicy") for path, body in project.calls)


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"/services": {"services": []}}, "APIs", "gcloud services enable aiplatform.googleapis.com artifactregistry.googleapis.com"),
        (
            {"/instanceGroupManagers": {"items": [{"instanceLifecyclePolicy": {"defaultActionOnFailure": "DO_NOTHING"}}]}},
            "pool h200-slurm",
            "its repairs are off",
        ),
        ({"/projects/acme-ml-prod": {"lifecycleState": "DELETE_REQUESTED"}}, "identity", "DELETE_REQUESTED"),
        ({"aiplatform.googleapis.com/quotaInfos": {"quotaInfos": [h200(8)]}}, "quota custom", "8 GPU, the pools h200 need 64"),
        (
            {"aiplatform.googleapis.com/quotaInfos": {"quotaInfos": [h200(8)]}},
            "quota custom",
            "--quota-id CustomModelTrainingNvidiaH200 --dimensions region=us-east4 --preferred-value 64",
        ),
        ({"compute.googleapis.com/quotaInfos": {"quotaInfos": []}}, "quota GPUS-PER", "no such quota in us-east4"),
        ({":getIamPolicy": {"bindings": []}}, "agent", "roles/aiplatform.serviceAgent"),
        ({":getEffectivePolicy": {"spec": {"rules": [{"enforce": True}]}}}, "policy compute.requireShieldedVm", "Secure Boot"),
        ({"/reservations/h200-block": NotFoundError("no")}, "reservation of h200", "does not exist"),
        ({"/reservations/h200-block": {**RESERVED, "reservationSharingPolicy": {}}}, "reservation of h200", "--reservation-sharing-policy"),
        (
            {"/reservations/h200-research": {"specificReservation": {**RESERVED["specificReservation"], "count": "2"}}},
            "reservation of h200-slurm",
            "it has 2 x a3-ultragpu-8g, the pool needs 4",
        ),
        ({"/b/acme-ml-datasets-use4": NotFoundError("no")}, "bucket", "correct `existing`"),
        ({"/b/acme-ml-datasets-use4": AuthError("denied")}, "bucket", "cannot be checked"),
    ],
)
def test_what_is_missing_has_a_fix(change: dict[str, Any], check: str, words: str) -> None:
    wrong = [each for name, each in found(Project(answers=change)).items() if name.startswith(check) and not each.ok]
    assert wrong
    assert any(words in f"{each.detail} {each.fix}" for each in wrong), wrong
    assert all(each.fix for each in wrong)


def test_a_quota_without_a_limit_is_enough() -> None:
    assert found(Project(answers={"aiplatform.googleapis.com/quotaInfos": {"quotaInfos": [h200(-1)]}}))[
        "quota custom_model_training_nvidia_h200_gpus"
    ].ok


def test_every_page_is_read() -> None:
    project = Project()
    pages = iter([{"services": [], "nextPageToken": "t"}, HEALTHY["/services"]])
    read = project.read
    project.read = lambda service, path, body=None: next(pages) if "/services?" in path else read(service, path, body)  # type: ignore[method-assign]
    assert found(project)["APIs"].ok


def test_without_a_project_nothing_is_called() -> None:
    facts = StackFacts(RecordedYard("gpuyard", "s", {}, committed_stacks.recorded("prod-gcp")), {}, None)
    assert [(check.name, check.ok) for check in checks(facts, Project())] == [("region", False), ("project", False)]  # type: ignore[arg-type]
