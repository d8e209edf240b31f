"""GCP's job service, identities and budget: job targets, narrow roles, and submitters."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

from gpuyard.components.gcp import Budget
from gpuyard.components.gcp.labels import STACK_LABEL, label_value, labels, tag_problems
from gpuyard.components.gcp.roles import PROJECT_ROLES
from gpuyard.components.gcp.submitter import members, token_condition
from gpuyard.components.gcp.validation import yard_problems
from gpuyard.components.spec import BudgetSpec, GpuPoolSpec, NetworkSpec
from gpuyard.components.validation.buckets import ExistingBucket
from gpuyard.training_jobs.backends.labels import gcp_label_value
from gpuyard.training_jobs.target import VertexTarget, parse_targets
from tests.helpers.gcp_sample_yard import FLEX, RESERVED, SECRET, SUBJECT, TAGS, VERTEX, VMS, ZONE, declare, kinds

OBJECT = "gcp:storage/bucketObject:BucketObject"
ON_BUCKET, ON_SECRET = "gcp:storage/bucketIAMMember:BucketIAMMember", "gcp:secretmanager/secretIamMember:SecretIamMember"
ON_PROJECT, ON_ACCOUNT = "gcp:projects/iAMMember:IAMMember", "gcp:serviceaccount/iAMMember:IAMMember"
CUSTOM = "gcp:projects/iAMCustomRole:IAMCustomRole"
PROVIDER = "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider"
WIF = "gcp:iam/workloadIdentityPool:WorkloadIdentityPool"


def inputs(recorded: Any, kind: str) -> dict[str, dict[str, Any]]:
    return {request.name: recorded.inputs(kind, request.name) for request in recorded.resources.values() if request.type == kind}


def content(recorded: Any) -> str:
    """Return the content of targets.json. The SDK marks the content of every object as secret."""
    return str(recorded.inputs(OBJECT, "train-targets")["content"]["value"])


@pytest.mark.parametrize("preview", [False, True])
def test_children_of_a_job_service(record: Any, preview: bool) -> None:
    recorded = record(declare, preview=preview)
    own = [line for line in kinds(recorded) if " train" in line]
    assert own == [
        "BucketIAMMember train-job-reads-data",
        "BucketIAMMember train-job-reads-runs",
        "BucketIAMMember train-job-writes-runs",
        "BucketIAMMember train-machines-lab-reads-data",
        "BucketIAMMember train-machines-lab-reads-runs",
        "BucketIAMMember train-machines-lab-writes-runs",
        "BucketIAMMember train-submitter-reads-runs",
        "BucketIAMMember train-submitter-writes-runs",
        "BucketObject train-targets",
        "CryptoKeyIAMMember train-images-use-key",
        "CryptoKeyIAMMember train-vertex-uses-key",
        "Identity train-job",
        "Identity train-submitter",
        "JobService train",
        "LogView train-logs",
        "LogViewIamMember train-submitter-reads-logs",
        "Repository train-images",
        "SecretIamMember train-job-secret-wandb",
        "SecretIamMember train-machines-lab-secret-wandb",
        "ServiceIdentity train-aiplatform-agent",
        "ServiceIdentity train-artifactregistry-agent",
        "WorkloadIdentityPool train-pipelines",
        "WorkloadIdentityPoolProvider train-pipelines-github",
    ]


@pytest.mark.parametrize(
    ("changes", "strategy", "reservation"),
    [
        ({}, "spot", None),
        ({"capacity": "on_demand"}, "standard", None),
        ({"capacity": FLEX}, "flex_start", None),
        ({"machine": "a3-ultragpu-8g", "zone": ZONE, "capacity": RESERVED}, "standard", RESERVED["reservation"]),
    ],
)
def test_submitters_can_parse_the_targets(record: Any, changes: dict[str, Any], strategy: str, reservation: str | None) -> None:
    recorded = record(lambda: declare(pools={"pool": {**VERTEX, **changes}, "lab": VMS}))
    assert recorded.inputs(OBJECT, "train-targets")["name"] == "gpuyard/targets.json"
    targets = parse_targets(content(recorded), "targets.json")
    assert list(targets) == ["pool"]
    target = targets["pool"]
    assert isinstance(target, VertexTarget)
    assert json.loads(content(recorded)) == recorded.exports["job_targets"]
    assert (target.strategy, target.reservation, target.persistent_resource) == (strategy, reservation, None)
    assert (target.project, target.region, target.stack) == ("acme-ml", "us-central1", "gpuyard/local")
    assert target.network_attachment == "projects/acme-ml/regions/us-central1/networkAttachments/pool-attachment"
    assert target.encryption_key is not None
    assert target.service_account.endswith("@acme-ml.iam.gserviceaccount.com")
    assert target.secrets == {"wandb": SECRET}
    if reservation:
        assert target.fabric is not None
        assert (target.fabric.transport, target.fabric.line_rate_gbps) == ("NET/gIB", 3200)


def test_the_target_names_the_persistent_resource(record: Any) -> None:
    recorded = record(lambda: declare(pools={"l4": {**VERTEX, "capacity": "on_demand", "min_nodes": 1}}))
    [target] = parse_targets(content(recorded), "targets.json").values()
    assert isinstance(target, VertexTarget)
    assert (target.min_nodes, target.reservation) == (1, None)
    assert str(target.persistent_resource).startswith("l4-held-")


def test_writers_can_write_only_below_their_folders(record: Any) -> None:
    grants = inputs(record(declare), ON_BUCKET)
    writes = {name: grant for name, grant in grants.items() if grant["role"] == "roles/storage.objectUser"}
    assert set(writes) == {"train-job-writes-runs", "train-machines-lab-writes-runs", "train-submitter-writes-runs"}
    below = 'resource.name.startsWith("projects/_/buckets/runs-bucket/objects/gpuyard/{}/")'
    conditions = {name: grant["condition"]["expression"] for name, grant in writes.items()}
    assert conditions["train-job-writes-runs"] == below.format("runs")
    assert conditions["train-submitter-writes-runs"] == f"{below.format('code')} || {below.format('submissions')}"
    assert {grant["role"] for name, grant in grants.items() if "-reads-" in name} == {"roles/storage.objectViewer"}


def test_a_job_reads_only_the_secrets_of_the_yard(record: Any) -> None:
    grants = inputs(record(declare), ON_SECRET)
    assert {(grant["secretId"], grant["role"]) for grant in grants.values()} == {("wandb", "roles/secretmanager.secretAccessor")}


def test_all_project_roles_are_in_the_table(record: Any) -> None:
    recorded = record(declare)
    known = {role.role for role in PROJECT_ROLES.values() if role.role}
    custom = [role["permissions"] for role in inputs(recorded, CUSTOM).values()]
    assert all(tuple(permissions) in {role.permissions for role in PROJECT_ROLES.values()} for permissions in custom)
    for name, grant in inputs(recorded, ON_PROJECT).items():
        assert grant["role"] in known or any(name.endswith(key) for key, role in PROJECT_ROLES.items() if role.permissions)
    assert all(role.why and bool(role.role) != bool(role.permissions) for role in PROJECT_ROLES.values())
    assert not [
        word for role in PROJECT_ROLES.values() for word in role.permissions if "*" in word or word.endswith((".actAs", "IamPolicy"))
    ]


def test_pipelines_become_the_submitter_without_a_key(record: Any) -> None:
    recorded = record(lambda: declare(submitters=(SUBJECT, {"subject": "repo:acme/llm:ref:refs/tags/*", "reason": "tags are protected"})))
    provider = recorded.inputs(PROVIDER, "train-pipelines-github")
    assert provider["oidc"] == {"issuerUri": "https://token.actions.githubusercontent.com"}
    assert provider["attributeCondition"] == token_condition([SUBJECT, "repo:acme/llm:ref:refs/tags/*"])
    assert recorded.inputs(WIF, "train-pipelines")["workloadIdentityPoolId"] == "gpuyard-b20af4f9ac3fe4c8"
    grants = inputs(recorded, ON_ACCOUNT)
    roles = {name: (grant["role"], grant["member"].partition("/locations/")[0].partition(":")[0]) for name, grant in grants.items()}
    assert roles == {
        "train-submitter-acts-as-job": ("roles/iam.serviceAccountUser", "serviceAccount"),
        "train-pipelines-0": ("roles/iam.workloadIdentityUser", "principal"),
        "train-pipelines-1": ("roles/iam.workloadIdentityUser", "principalSet"),
    }
    assert grants["train-pipelines-1"]["member"].endswith("/attribute.repository/acme/llm")
    assert "*" not in "".join(member for _, member in members([SUBJECT, "repo:acme/llm:*"]))
    assert not [request for request in recorded.resources.values() if "Key" in request.type and "serviceaccount" in request.type]


def test_without_submitters_no_submitter_is_made(record: Any) -> None:
    recorded = record(lambda: declare(submitters=()))
    assert not [line for line in kinds(recorded) if "submitter" in line or "Workload" in line]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"secrets": {"wandb": "hunter2"}}, "projects/P/secrets/NAME/versions/N"),
        ({"image": "train:latest"}, "image"),
        ({"submitters": ("*",)}, "submitters.0"),
        ({"pools": {"lab": VMS}}, "submitters: no pool takes jobs"),
        ({"pools": {}}, "pools: no pool, got none"),
    ],
)
def test_wrong_inputs_are_refused(record: Any, more: dict[str, Any], expected: str) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(lambda: declare(**more))
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("preview", [False, True])
def test_a_budget_mails_its_owner(record: Any, preview: bool) -> None:
    recorded = record(
        lambda: Budget("budget", owner="ml@acme.io", usd_per_month=1500, alert_at_percent=[80, 50], tags=TAGS), preview=preview
    )
    given_to = recorded.inputs("gcp:billing/budget:Budget", "budget-budget")
    assert given_to["amount"] == {"specifiedAmount": {"currencyCode": "USD", "units": "1500"}}
    assert [rule["thresholdPercent"] for rule in given_to["thresholdRules"]] == [0.5, 0.8, 1.0]
    assert given_to["budgetFilter"]["labels"] == {"gpuyard_stack": "gpuyard-local"}
    channel = recorded.inputs("gcp:monitoring/notificationChannel:NotificationChannel", "budget-owner")
    assert (channel["type"], channel["labels"]) == ("email", {"email_address": "ml@acme.io"})


def test_all_wrong_inputs_of_a_budget_are_reported(record: Any) -> None:
    with pytest.raises(pulumi.RunError, match="3 problems"):
        record(lambda: Budget("budget", owner="us", usd_per_month=0.5, alert_at_percent=[0]))


@pytest.mark.parametrize("stack", ["gpuyard/dev-gcp", "Acme/Prod.Yard", "x" * 50 + "/" + "y" * 50, "__a/b"])
def test_resources_and_jobs_have_the_same_label(stack: str) -> None:
    assert labels({}, stack, "net")[STACK_LABEL] == gcp_label_value(stack) == label_value(stack)


@pytest.mark.parametrize(
    "tags", [{"Team": "ml"}, {"gpuyard_stack": "x"}, {"9": "x"}, {"team": 7}, {f"k{number}": "v" for number in range(63)}]
)
def test_illegal_tags_are_refused(tags: dict[str, Any]) -> None:
    assert tag_problems(tags)


def test_all_problems_of_a_yard_are_reported_together() -> None:
    found = yard_problems(
        region="us-central1",
        network=NetworkSpec(zones=["us-east4-a"], cidr="10.0.0.0/24"),
        existing_network=None,
        existing_buckets={"data": ExistingBucket("gs://acme")},
        pools={"lab": GpuPoolSpec.model_validate({**VMS, "zone": ZONE, "image": "x"}, context={"cloud": "gcp"})},
        submitters=[SUBJECT],
        budget=BudgetSpec(usd_per_month=0.5),
        owner="us",
        tags={"Team": "ml", "expires": "2027-03-31"},
    )
    subjects = [problem.key for problem in found]
    assert subjects == [
        *("network.cidr", "network.zones", "buckets.data.existing", "pools.lab.zone", "pools.lab.image"),
        *("submitters", "tags", "owner", "budget.usd_per_month"),
    ]
