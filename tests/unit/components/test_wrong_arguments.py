"""JobService and Budget refuse arguments of a wrong shape with every problem, on every cloud."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pulumi
import pulumi_aws
import pytest

from gpuyard.components import aws, azure, gcp, local
from gpuyard.components.aws import Bucket as AwsBucket
from gpuyard.components.spec import SubmitterSpec

CLOUDS = [aws, azure, gcp, local]
EXISTING = {
    "aws": "acme-runs",
    "azure": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acme/blobServices/default/containers/runs",
    "gcp": "acme-runs",
    "local": "/tmp",
}


def cloud_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def runs(cloud: ModuleType) -> Any:
    return cloud.Bucket.adopt("runs", bucket=EXISTING[cloud_of(cloud)])


def refusal(record: Any, program: Any) -> list[str]:
    """Return the lines of the RunError that a program ends with."""
    with pytest.raises(pulumi.RunError) as caught:
        record(program)
    assert caught.value.__cause__ is None
    return str(caught.value).splitlines()


@pytest.mark.parametrize("cloud", CLOUDS, ids=cloud_of)
def test_job_service_refuses_objects_that_are_not_components_of_its_cloud(record: Any, cloud: ModuleType) -> None:
    name = cloud_of(cloud)

    def program() -> None:
        wrong: Any = [pulumi_aws.s3.Bucket("mine"), "runs"]
        cloud.JobService("train", pools=[runs(cloud)], writes=wrong, reads=runs(cloud))

    assert refusal(record, program) == [
        "JobService train: 4 problems, nothing was changed",
        f"  - pools.0: wrong type, got gpuyard.components.{name}.bucket.Bucket, allowed: a GpuPool of gpuyard.{name}; "
        f"make it with gpuyard.{name}.GpuPool",
        f"  - writes.0: wrong type, got pulumi_aws.s3.bucket.Bucket, allowed: a Bucket of gpuyard.{name}; "
        "adopt an existing bucket: Bucket.adopt(NAME, bucket=...)",
        f"  - writes.1: wrong type, got str, allowed: a Bucket of gpuyard.{name}; adopt an existing bucket: Bucket.adopt(NAME, bucket=...)",
        f"  - reads: wrong type, got gpuyard.components.{name}.bucket.Bucket, allowed: a list, each a Bucket of gpuyard.{name}; "
        "write reads=[...]",
    ]


@pytest.mark.parametrize("cloud", [azure, gcp, local], ids=cloud_of)
def test_job_service_refuses_a_bucket_of_another_cloud(record: Any, cloud: ModuleType) -> None:
    lines = refusal(record, lambda: cloud.JobService("train", pools=[], writes=[AwsBucket.adopt("runs", bucket="acme-runs")]))
    assert any(line.startswith("  - writes.0: wrong type, got gpuyard.components.aws.bucket.Bucket") for line in lines)


@pytest.mark.parametrize("cloud", CLOUDS, ids=cloud_of)
@pytest.mark.parametrize("submitters", ["repo:acme/nlp:ref:refs/heads/main", 7, {"subject": "repo:acme/nlp:pull_request"}])
def test_job_service_refuses_submitters_that_are_not_a_list_of_strings(record: Any, cloud: ModuleType, submitters: Any) -> None:
    lines = refusal(record, lambda: cloud.JobService("train", pools=[], writes=[runs(cloud)], submitters=submitters))
    assert f"  - submitters: wrong type, got {submitters!r}, allowed: a list of strings; write submitters=[...]" in lines


@pytest.mark.parametrize("cloud", [aws, azure, gcp], ids=cloud_of)
@pytest.mark.parametrize(
    ("submitter", "problem"),
    [
        *(
            (
                subject,
                f"submitters.0: admits code that nobody has reviewed, got '{subject}', allowed: an exact branch or environment; "
                "list exact branches or environments, or write {subject: ..., reason: ...}",
            )
            for subject in ("repo:acme/nlp:ref:refs/heads/*", "repo:acme/nlp:*", "repo:acme/nlp:pull_request")
        ),
        ({"subject": "repo:acme/nlp:pull_request", "reason": "why"}, "submitters.0.reason: "),
        ({"subject": "repo:acme/nlp:pull_request"}, "submitters.0: admits code that nobody has reviewed"),
        (SubmitterSpec(subject="repo:acme/nlp:pull_request"), "submitters.0: admits code that nobody has reviewed"),
        ({"subject": "repo:acme/nlp:ref:refs/heads/main", "repository_id": 0}, "submitters.0.repository_id: "),
        (7, "submitters.0: wrong type, got 7, allowed: a string, or {subject: ..., reason: ...}"),
    ],
)
def test_job_service_refuses_submitters_of_unreviewed_code_without_a_reason(
    record: Any, cloud: ModuleType, submitter: Any, problem: str
) -> None:
    lines = refusal(record, lambda: cloud.JobService("train", pools=[], writes=[runs(cloud)], submitters=[submitter]))
    assert any(line.startswith(f"  - {problem}") for line in lines), lines


@pytest.mark.parametrize("cloud", [aws, azure, gcp], ids=cloud_of)
def test_job_service_admits_unreviewed_code_with_a_reason(record: Any, cloud: ModuleType) -> None:
    pulls = {"subject": "repo:acme/nlp:pull_request", "reason": "forks cannot open pull requests here"}
    other = SubmitterSpec(subject="repo:acme/llm:pull_request", reason="all members may submit")
    lines = refusal(record, lambda: cloud.JobService("train", pools=[], writes=[runs(cloud)], submitters=[pulls, other]))
    assert [line for line in lines if "submitters" in line] == []  # `pools` is refused: an empty list


@pytest.mark.parametrize(
    ("cloud", "subject"), [(aws, "repo:a/b:environment:c"), (azure, "repo:a/b:environment:c"), (gcp, "user:a@acme.io")]
)
def test_a_repository_id_that_nothing_checks_is_refused(record: Any, cloud: ModuleType, subject: str) -> None:
    submitter = {"subject": subject, "repository_id": 42}
    lines = refusal(record, lambda: cloud.JobService("train", pools=[], writes=[runs(cloud)], submitters=[submitter]))
    assert any(line.startswith("  - submitters.0.repository_id: has no effect, got 42, allowed: none ") for line in lines), lines


@pytest.mark.parametrize("cloud", CLOUDS, ids=cloud_of)
def test_job_service_reports_wrong_shapes_and_wrong_values_together(record: Any, cloud: ModuleType) -> None:
    def program() -> None:
        wrong: Any = "runs"
        cloud.JobService("train", pools=[], writes=wrong, secrets={"wandb": "hunter2"}, limits={"gpu": 1})

    lines = refusal(record, program)
    assert [line.split(",")[0] for line in lines[1:]] == [
        "  - limits.gpu: unknown key",
        "  - writes: wrong type",
        "  - secrets.wandb: wrong value",
    ]
    assert "hunter2" not in "\n".join(lines)


@pytest.mark.parametrize("cloud", [aws, azure, gcp], ids=cloud_of)
def test_budget_refuses_a_spec_and_names_its_keywords(record: Any, cloud: ModuleType) -> None:
    lines = refusal(record, lambda: cloud.Budget("month", {"usd_per_month": 5000}))
    assert lines[0] == "Budget month: 3 problems, nothing was changed"
    assert lines[1].startswith(
        "  - arguments: only the name can be positional, got dict, allowed: keywords: owner, usd_per_month, alert_at_percent,"
    )
    assert lines[1].endswith("; write usd_per_month=5000")
    assert lines[2:] == [
        "  - owner: required keyword is missing; add owner=",
        "  - usd_per_month: required keyword is missing; add usd_per_month=",
    ]


@pytest.mark.parametrize("cloud", [aws, azure, gcp], ids=cloud_of)
def test_budget_refuses_unknown_keywords_and_a_missing_name(record: Any, cloud: ModuleType) -> None:
    lines = refusal(record, lambda: cloud.Budget(owner="me@acme.io", usd_per_mont=5000))
    assert [line.partition(",")[0] for line in lines[1:]] == [
        "  - name: required argument is missing; write it as the first argument",
        "  - usd_per_month: required keyword is missing; add usd_per_month=",
        "  - usd_per_mont: unknown keyword",
    ]
    assert lines[-1].endswith("did you mean 'usd_per_month'?")


@pytest.mark.parametrize("cloud", [aws, azure, gcp], ids=cloud_of)
@pytest.mark.parametrize("percents", [50, "50", None])
def test_budget_refuses_percentages_that_are_not_a_list(record: Any, cloud: ModuleType, percents: Any) -> None:
    lines = refusal(record, lambda: cloud.Budget("month", owner="me@acme.io", usd_per_month=5000, alert_at_percent=percents))
    assert lines[1].startswith("  - alert_at_percent: ")
