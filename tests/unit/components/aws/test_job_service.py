"""AWS's JobService: resources for pools of each service, wrong inputs, no secrets in its inputs."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

from gpuyard.components.aws import Bucket, EncryptionKey, JobService
from tests.helpers.aws_sample_yard import BATCH, MACHINES, SECRET, SUBJECT, TAGS, TRAINING, declare, gpu_pool
from tests.helpers.iam_evaluator import allows

POLICY = "aws:iam/rolePolicy:RolePolicy"
ROLE = "aws:iam/role:Role"


def made(recorded: Any) -> list[tuple[str, str]]:
    return sorted((request.type, request.name) for request in recorded.resources.values() if request.name.startswith("train"))


@pytest.mark.parametrize("preview", [False, True])
def test_tokens_and_child_names_do_not_change(record: Any, preview: bool) -> None:
    recorded = record(declare, preview=preview)
    assert made(recorded) == [
        ("aws:batch/jobQueue:JobQueue", "train-l4-queue"),
        ("aws:cloudwatch/eventRule:EventRule", "train-shutdowns"),
        ("aws:cloudwatch/eventTarget:EventTarget", "train-shutdowns"),
        ("aws:cloudwatch/logGroup:LogGroup", "train-logs"),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", "train-l4-replacements"),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", "train-lab-replacements"),
        (ROLE, "train-count-role"),
        (ROLE, "train-execution-role"),
        (ROLE, "train-job-role"),
        (ROLE, "train-stop-role"),
        (ROLE, "train-submitter-role"),
        (ROLE, "train-training-role"),
        (POLICY, "train-count-policy"),
        (POLICY, "train-execution-policy"),
        (POLICY, "train-job-policy"),
        (POLICY, "train-l4-logs"),
        (POLICY, "train-lab-buckets"),
        (POLICY, "train-stop-policy"),
        (POLICY, "train-submitter-policy"),
        (POLICY, "train-training-policy"),
        ("aws:kms/alias:Alias", "train-log-key-alias"),
        ("aws:kms/key:Key", "train-log-key-key"),
        ("aws:s3/bucketObjectv2:BucketObjectv2", "train-targets"),
        ("aws:sagemaker/modelPackageGroup:ModelPackageGroup", "train-models"),
        ("aws:sfn/stateMachine:StateMachine", "train-replacements"),
        ("gpuyard-aws:index:EncryptionKey", "train-log-key"),
        ("gpuyard-aws:index:Identity", "train-count"),
        ("gpuyard-aws:index:Identity", "train-execution"),
        ("gpuyard-aws:index:Identity", "train-job"),
        ("gpuyard-aws:index:Identity", "train-stop"),
        ("gpuyard-aws:index:Identity", "train-submitter"),
        ("gpuyard-aws:index:Identity", "train-training"),
        ("gpuyard-aws:index:JobService", "train"),
    ]
    assert set(recorded.outputs("JobService")) == {"targets", "submitter_role"}
    assert recorded.unknown == ({"job_targets", "submitter_role"} if preview else set())


def test_a_yard_with_one_service_has_no_resources_of_the_others(record: Any) -> None:
    batch = made(record(lambda: declare(pools={"l4": BATCH}, submitters=())))
    assert not [name for _, name in batch if "training" in name or "models" in name or "submitter" in name]
    training = made(record(lambda: declare(pools={"h100": TRAINING}, submitters=())))
    assert [name for _, name in training] == [
        "train-training-role",
        "train-training-policy",
        "train-targets",
        "train-models",
        "train-training",
        "train",
    ]
    machines = record(lambda: declare(pools={"lab": MACHINES}, submitters=()))
    assert {name for _, name in made(machines)} == {
        *(f"train-{part}{end}" for part in ("count", "stop") for end in ("", "-policy", "-role")),
        *("train", "train-lab-buckets", "train-lab-replacements", "train-replacements", "train-shutdowns", "train-targets"),
    }
    assert machines.exports["job_targets"] == {}
    assert machines.exports["submitter_role"] is None


def test_the_queue_uses_the_pools_machines_and_cancels_jobs_that_cannot_run(record: Any) -> None:
    queue = record(declare).inputs("aws:batch/jobQueue:JobQueue", "train-l4-queue")
    environment = "arn:aws:batch:us-east-1:111122223333:l4-environment"
    assert queue["computeEnvironmentOrders"] == [{"order": 1, "computeEnvironment": environment}]
    assert {(each["reason"], each["maxTimeSeconds"]) for each in queue["jobStateTimeLimitActions"]} == {
        ("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT", 600),
        ("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE", 600),
        ("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", 86400),
    }
    assert {(each["action"], each["state"]) for each in queue["jobStateTimeLimitActions"]} == {("CANCEL", "RUNNABLE")}
    assert queue["tags"] == {**TAGS, "stack": "gpuyard/local", "Name": "train-l4-queue"}


def test_logs_are_kept_a_year_and_encrypted(record: Any) -> None:
    own = record(declare)
    group = own.inputs("aws:cloudwatch/logGroup:LogGroup", "train-logs")
    assert (group["retentionInDays"], group["kmsKeyId"]) == (365, "arn:aws:kms:us-east-1:111122223333:train-log-key-key")
    given = record(lambda: declare(key=EncryptionKey("logs", for_logs=True)))
    assert ("gpuyard-aws:index:EncryptionKey", "train-log-key") not in made(given)
    assert given.inputs("aws:cloudwatch/logGroup:LogGroup", "train-logs")["kmsKeyId"].endswith(":logs-key")


def test_targets_json_equals_the_export_and_is_encrypted(record: Any) -> None:
    recorded = record(declare)
    file = recorded.inputs("aws:s3/bucketObjectv2:BucketObjectv2", "train-targets")
    assert json.loads(file["content"]) == recorded.exports["job_targets"]
    assert file["content"] == json.dumps(json.loads(file["content"]), indent=2, sort_keys=True) + "\n"
    assert {key: value for key, value in file.items() if key != "content"} == {
        "bucket": "runs-bucket-id",
        "key": "gpuyard/targets.json",
        "contentType": "application/json",
        "serverSideEncryption": "aws:kms",
        "kmsKeyId": "arn:aws:kms:us-east-1:111122223333:runs-key-key",
        "bucketKeyEnabled": True,
    }


def test_a_bucket_with_an_unknown_key_keeps_its_encryption(record: Any) -> None:
    def program() -> None:
        runs = Bucket.adopt("runs", bucket="acme-runs")
        JobService("train", pools=[gpu_pool("l4", BATCH)], writes=[runs])

    recorded = record(program)
    assert "kmsKeyId" not in recorded.inputs("aws:s3/bucketObjectv2:BucketObjectv2", "train-targets")
    assert "kms:" not in recorded.inputs(POLICY, "train-job-policy")["policy"]


def test_each_role_has_only_the_permissions_it_needs(record: Any) -> None:
    recorded = record(declare)
    policies = {name: json.loads(recorded.inputs(POLICY, name)["policy"]) for kind, name in made(recorded) if kind == POLICY}

    def writers(path: str) -> set[str]:
        arn = f"arn:aws:s3:::runs-bucket-id/{path}"
        return {name for name, policy in policies.items() if allows(policy, "s3:PutObject", arn)}

    assert writers("gpuyard/runs/x/attempts/1.json") == {"train-job-policy", "train-training-policy", "train-lab-buckets"}
    assert writers("gpuyard/submissions/x/run.json") == {"train-submitter-policy"}
    can_read_secrets = {name for name, policy in policies.items() if allows(policy, "secretsmanager:GetSecretValue", SECRET)}
    assert can_read_secrets == {"train-job-policy", "train-training-policy", "train-lab-buckets"}
    can_submit = {
        name for name, policy in policies.items() if "batch:SubmitJob" in json.dumps(policy) or "iam:PassRole" in json.dumps(policy)
    }
    assert can_submit == {"train-submitter-policy"}
    stream = "arn:aws:logs:us-east-1:111122223333:log-group:train-logs:log-stream:x"
    assert {name for name, policy in policies.items() if allows(policy, "logs:PutLogEvents", stream)} == {
        "train-execution-policy",
        "train-l4-logs",
    }
    assert recorded.inputs(POLICY, "train-l4-logs")["role"] == "l4-node-role"
    trust = json.loads(recorded.inputs(ROLE, "train-submitter-role")["assumeRolePolicy"])["Statement"]
    assert [entry["Condition"]["StringEquals"]["token.actions.githubusercontent.com:sub"] for entry in trust] == [[SUBJECT]]


def test_a_vms_pool_gets_the_permissions_of_a_job_on_its_own_role(record: Any) -> None:
    assert record(declare).inputs(POLICY, "train-lab-buckets")["role"] == "lab-node-role"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"writes": []}, ["writes: not one bucket, got none, allowed: exactly one bucket, the run bucket"]),
        ({"pools": {}}, ["pools: no pool, got none"]),
        ({"secrets": {"wandb": "hunter2"}}, ["secrets.wandb: wrong value, got (secret), allowed: the complete ARN"]),
        ({"secrets": {"wandb": SECRET.rpartition("-")[0]}}, ["secrets.wandb: wrong value, got (secret)"]),
        ({"secrets": {"wandb": SECRET.replace("wandb", "*")}}, ["secrets.wandb: wrong value, got (secret)"]),
        ({"limits": {"gpus": 0, "usd": 3}}, ["limits.gpus: wrong value, got 0", "limits.usd: unknown key"]),
        ({"image": "pytorch/pytorch:latest"}, ["image: wrong value, got 'pytorch/pytorch:latest', allowed: an image by digest"]),
        ({"submitters": ("repo:acme/*",)}, ["submitters.0: not a GitHub token subject, got 'repo:acme/*'"]),
        (
            {"pools": {"lab": MACHINES}},
            [f"submitters: no pool takes jobs, got {SUBJECT}, allowed: no submitters if every pool has `service: vms`"],
        ),
        (
            {"secrets": {"a": "x"}, "image": "x", "submitters": ("*",), "pools": {}},
            ["4 problems", "secrets.a", "image", "submitters.0", "pools"],
        ),
    ],
)
def test_all_wrong_inputs_are_reported(record: Any, change: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(lambda: declare(**change))
    assert str(caught.value).startswith("JobService train: ")
    assert "hunter2" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_an_illegal_name_is_reported(record: Any) -> None:
    with pytest.raises(
        pulumi.RunError,
        match=r"JobService Train It: 2 problems[\s\S]*name: not a valid name, got 'Train It'[\s\S]*pools: no pool, got none",
    ):
        record(lambda: JobService("Train It", pools=[], writes=[Bucket("runs")]))


def test_duplicate_names_and_a_key_that_is_not_for_logs_are_reported(record: Any) -> None:
    def program() -> None:
        runs = Bucket("runs")
        pools = [gpu_pool("a", BATCH), gpu_pool("b", BATCH)]
        pools[1].logical_name = "a"
        JobService("train", pools=pools, reads=[runs], writes=[runs], key=EncryptionKey("k"))

    with pytest.raises(
        pulumi.RunError,
        match=r"pools: a name occurs more than once, got a[\s\S]*writes: a name occurs more than once, got runs[\s\S]*for_logs=True",
    ):
        record(program)


@pytest.mark.parametrize("preview", [False, True])
def test_no_input_contains_a_secret(record: Any, preview: bool) -> None:
    recorded = record(declare, preview=preview, config={"gpuyard:token": "hunter2"}, secret=("gpuyard:token",))
    assert all("hunter2" not in str(request.object) for request in recorded.resources.values())


def test_the_same_program_makes_the_same_requests(record: Any) -> None:
    once, again = record(declare), record(declare)
    assert once.resources.keys() == again.resources.keys()
    for request in once.resources.values():
        assert once.inputs(request.type, request.name) == again.inputs(request.type, request.name)


def test_a_new_pool_changes_no_resource_of_another_pool(record: Any) -> None:
    one, two = (record(lambda names=names: declare(pools=dict.fromkeys(names, BATCH))) for names in (("a",), ("b", "a")))
    changed = {
        request.name
        for urn, request in one.resources.items()
        if one.inputs(request.type, request.name) != two.inputs(request.type, two.resources[urn].name)
    }
    assert changed == {"train", "train-targets", "train-submitter-policy", "train-replacements"}
    new = {request.name for urn, request in two.resources.items() if urn not in one.resources}
    assert new - {"train-b-queue", "train-b-logs", "train-b-replacements"} == {name for name in new if name == "b" or name.startswith("b-")}
