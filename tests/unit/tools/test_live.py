"""`make live` against scripted commands and a fake AWS: the order of its steps, the question, the destroy after a failure, leftovers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from gpuyard.training_jobs.spec import parse_job
from tools import live_azure, live_gcp
from tools.live import JOBS, LiveError, Tools, leftovers, live

PLAN = {"project": "gpuyard", "clouds": ["aws"], "region": "us-east-1", "resources": [{}] * 9, "money": {"full": {"low": 5, "high": 9.2}}}
TARGETS = {"l4": {"max_nodes": 2}, "l4-spot": {"max_nodes": 1}}
KEY, GONE, BUCKET = "arn:aws:kms:us-east-1:1:key/k", "arn:aws:ec2:us-east-1:1:instance/i-1", "arn:aws:s3:::left"


class FakeAws:
    """Answers the calls of the leak check."""

    def __init__(self, *arns: str) -> None:
        self.arns = list(arns)

    def call(self, service: str, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        if operation == "get_resources":
            assert body["TagFilters"] == [{"Key": "stack", "Values": ["gpuyard/dev-aws"]}]
            page, self.arns = self.arns[:1], self.arns[1:]
            return {"ResourceTagMappingList": [{"ResourceARN": arn} for arn in page], "PaginationToken": "more" if self.arns else ""}
        if operation == "describe_key":
            return {"KeyMetadata": {"KeyState": "PendingDeletion"}}
        return {"Reservations": [{"Instances": [{"State": {"Name": "terminated"}}]}]}


class Commands:
    """Stands for pulumi and gpuyard. `fails`: the first words of a command that exits 3. `attempts`: of every preempted run."""

    def __init__(self, fails: str = "nothing", attempts: int = 2) -> None:
        self.lines: list[str] = []
        self.jobs: list[dict[str, Any]] = []
        self._fails, self._attempts = fails, attempts

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.lines.append(" ".join(command))
        answers: dict[str, Callable[[], Any]] = {
            "gpuyard plan": lambda: PLAN,
            "pulumi stack": lambda: TARGETS,
            "gpuyard submit": lambda: {"run_id": self._submitted(command[2])},
            "gpuyard status": lambda: {"attempts": [{}] * (self._attempts if "preemption" in command[2] else 1)},
        }
        words = " ".join(command[:2])
        return subprocess.CompletedProcess(command, 3 if words == self._fails else 0, json.dumps(answers.get(words, dict)()))

    def _submitted(self, file: str) -> str:
        with open(file, encoding="utf-8") as text:
            self.jobs.append(json.load(text))
        return str(self.jobs[-1]["name"])


def tools(run: Commands, *arns: str, answer: str = "dev-aws", said: list[str] | None = None) -> Tools:
    aws: Any = FakeAws(*arns)
    azure: Any = None
    return Tools(
        run,
        lambda _: answer,
        lambda _: aws,
        lambda: azure,
        lambda project, region: azure,
        (said if said is not None else []).append,
        "live-1",
    )


def test_the_steps_in_order() -> None:
    run, said = Commands(), list[str]()
    live("dev-aws", tools(run, KEY, GONE, "arn:aws:batch:us-east-1:1:job-definition/d:1", said=said))
    steps = [" ".join(line.split()[:2]) for line in run.lines]
    each = ["gpuyard submit", "gpuyard wait", "gpuyard status"]
    assert steps == ["gpuyard plan", "pulumi up", "gpuyard doctor", "pulumi stack", *each * 5, "pulumi destroy"]
    assert [(job["pool"], job["nodes"]) for job in run.jobs] == [("l4", 1), ("l4", 2), ("l4", 1), ("l4-spot", 1), ("l4-spot", 1)]
    assert "cost: about 9.20 USD at most" in said[1]
    assert "l4-spot: two-nodes needs 2 nodes, the pool has 1" in said


def test_without_the_stacks_name_nothing_is_created() -> None:
    run = Commands()
    with pytest.raises(LiveError, match="not started"):
        live("dev-aws", tools(run, answer="yes"))
    assert len(run.lines) == 1


@pytest.mark.parametrize("fails", ["pulumi up", "gpuyard doctor", "gpuyard submit", "gpuyard wait"])
def test_a_failure_destroys_the_stack_and_is_reported(fails: str) -> None:
    run = Commands(fails)
    with pytest.raises(LiveError, match=f"{fails}.* exit code 3"):
        live("dev-aws", tools(run))
    assert run.lines[-1] == "pulumi destroy --yes --stack dev-aws"


def test_a_preempted_job_needs_a_second_attempt() -> None:
    with pytest.raises(LiveError, match="preemption: ended after 1 attempts, expected: 2"):
        live("dev-aws", tools(Commands(attempts=1)))


def test_leftovers_are_named() -> None:
    with pytest.raises(LiveError, match="left after the destroy, remove by hand:\n  arn:aws:s3:::left"):
        live("dev-aws", tools(Commands(), KEY, BUCKET))
    aws: Any = FakeAws(GONE, BUCKET, KEY)
    assert leftovers("gpuyard/dev-aws", aws) == [BUCKET]


@pytest.mark.parametrize("keys", JOBS.values(), ids=list(JOBS))
def test_the_jobs_are_valid(keys: dict[str, Any]) -> None:
    assert parse_job({"name": "live", "launcher": "none", "timeout": "15m", **keys}).nodes == keys["nodes"]


def test_leftovers_on_azure_are_resources_and_groups_with_the_tag() -> None:
    """The list of resources has pages, and the next one is a URL."""
    base = "https://management.azure.com/subscriptions/sub"
    tag = "$filter=tagName%20eq%20%27stack%27%20and%20tagValue%20eq%20%27gpuyard/dev-azure%27"
    pages = {
        f"{base}/resourcegroups?api-version=2021-04-01&{tag}": {"value": [{"id": "group"}]},
        f"{base}/resources?api-version=2021-04-01&{tag}": {"value": [{"id": "a"}], "nextLink": f"{base}/next"},
        f"{base}/next": {"value": [{"id": "b"}]},
    }
    azure: Any = SimpleNamespace(call=lambda verb, url, audience: SimpleNamespace(json=lambda: pages[url]))
    assert live_azure.leftovers("gpuyard/dev-azure", "sub", azure) == ["group", "a", "b"]


def test_a_stack_on_azure_is_searched_in_its_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[tuple[str, str]] = []

    def nothing(stack: str, subscription: str, _: Any) -> list[str]:
        searched.append((stack, subscription))
        return []

    monkeypatch.setattr(live_azure, "leftovers", nothing)
    monkeypatch.setitem(PLAN, "clouds", ["azure"])
    run = Commands()
    live("dev-azure", tools(run, answer="dev-azure"))
    assert searched == [("gpuyard/dev-azure", "{}")]
    assert "pulumi config get azure-native:subscriptionId --stack dev-azure" in run.lines


def test_leftovers_on_google_cloud_are_resources_with_the_label_that_cost_money() -> None:
    """A template, a key and an ended job stay without a cost. The list has pages."""
    base = "v1/projects/acme-ml:searchAllResources?query=labels.gpuyard_stack%3D%22gpuyard-dev-gcp%22&pageSize=500"
    kinds = ("compute.googleapis.com/InstanceTemplate", "cloudkms.googleapis.com/CryptoKey", "aiplatform.googleapis.com/CustomJob")
    pages = {
        base: {"results": [{"name": kind, "assetType": kind} for kind in kinds], "nextPageToken": "t"},
        f"{base}&pageToken=t": {"results": [{"name": "//storage.googleapis.com/runs", "assetType": "storage.googleapis.com/Bucket"}]},
    }
    google: Any = SimpleNamespace(read=lambda service, path: pages[path] if service == "cloudasset" else None)
    assert live_gcp.leftovers("gpuyard/dev-gcp", "acme-ml", google) == ["//storage.googleapis.com/runs"]


def test_a_stack_on_google_cloud_is_searched_in_its_project(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[tuple[str, str]] = []

    def nothing(stack: str, project: str, _: Any) -> list[str]:
        searched.append((stack, project))
        return []

    monkeypatch.setattr(live_gcp, "leftovers", nothing)
    monkeypatch.setitem(PLAN, "clouds", ["gcp"])
    run = Commands()
    live("dev-gcp", tools(run, answer="dev-gcp"))
    assert searched == [("gpuyard/dev-gcp", "{}")]
    assert "pulumi config get gcp:project --stack dev-gcp" in run.lines
