"""The policy of the submitter role: its exact text, and the calls that it allows and denies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpuyard.components.aws import permissions
from gpuyard.components.aws.permissions import Storage
from gpuyard.components.aws.policy import ArnScope, policy_document
from gpuyard.components.aws.submitter import BatchAccess, SageMakerAccess, submitter
from gpuyard.components.naming import job_prefix
from tests.helpers.iam_evaluator import allows

SCOPE = ArnScope("111122223333", "us-east-1", "aws")
RUN = Storage("arn:aws:s3:::runs-1a2b", "arn:aws:kms:us-east-1:111122223333:key/run")
STACK = "gpuyard/prod"
PREFIX = job_prefix(STACK)
QUEUE, OTHER_QUEUE = SCOPE.arn("batch", "job-queue/train-l4"), SCOPE.arn("batch", "job-queue/payroll")
JOB_ROLE, START_ROLE, TRAIN_ROLE = (f"arn:aws:iam::111122223333:role/{name}" for name in ("train-job", "train-execution", "train-training"))
GROUP = SCOPE.arn("logs", "log-group:train-logs")
SHARED = SCOPE.arn("logs", f"log-group:{permissions.TRAINING_JOBS}")
OURS, THEIRS = SCOPE.arn("batch", f"job-definition/{PREFIX}llm-0a1b:3"), SCOPE.arn("batch", "job-definition/gpuyard-00000000-llm:3")
JOB = SCOPE.arn("batch", "job/6f0c")
TRAINING, FOREIGN = SCOPE.arn("sagemaker", f"training-job/{PREFIX}llm-0a1b"), SCOPE.arn("sagemaker", "training-job/payroll")
INSIDE = {
    "sagemaker:InstanceTypes": ["ml.p5.48xlarge"],
    "sagemaker:VpcSubnets": ["subnet-0a"],
    "sagemaker:VpcSecurityGroupIds": ["sg-0a"],
}
TASKS, ROOT = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}, "arn:aws:s3:::runs-1a2b"
GOLDEN = Path(__file__).with_name("submitter_policy.json")


def document() -> dict[str, Any]:
    batch = BatchAccess([QUEUE], GROUP, [JOB_ROLE, START_ROLE])
    trains = SageMakerAccess(TRAIN_ROLE, ["subnet-0a", "subnet-0b"], ["sg-0a"], ["ml.p5.48xlarge"], 600)
    return policy_document(submitter(SCOPE, RUN, STACK, PREFIX, batch, trains))


def test_the_submitter_policy_equals_the_reviewed_one() -> None:
    """A difference changes the permissions of submitters. Review it, then write the output of `document()` to the file."""
    assert json.dumps(document(), indent=2) + "\n" == GOLDEN.read_text()


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("batch:SubmitJob", QUEUE, {}),
        ("batch:SubmitJob", OURS, {}),
        ("batch:RegisterJobDefinition", OURS.rpartition(":")[0], {}),
        ("batch:RegisterJobDefinition", OURS, {"batch:Privileged": "false"}),
        ("batch:DeregisterJobDefinition", OURS, {}),
        ("batch:TagResource", OURS, {"aws:RequestTag/stack": STACK}),  # RegisterJobDefinition with tags
        ("batch:TagResource", OURS, {"aws:RequestTag/stack": STACK, "aws:ResourceTag/stack": STACK}),  # SubmitJob with tags
        ("batch:TagResource", QUEUE, {"aws:RequestTag/stack": STACK, "aws:ResourceTag/stack": STACK}),
        ("batch:TerminateJob", JOB, {"aws:ResourceTag/stack": STACK}),
        ("batch:CancelJob", JOB, {"aws:ResourceTag/stack": STACK}),
        ("batch:DescribeJobs", "*", {}),
        ("iam:PassRole", JOB_ROLE, TASKS),
        ("iam:PassRole", TRAIN_ROLE, {"iam:PassedToService": "sagemaker.amazonaws.com"}),
        ("s3:ListBucket", ROOT, {"s3:prefix": "gpuyard/submissions/"}),
        ("s3:ListBucket", ROOT, {}),  # S3 checks this permission before it answers 404
        ("s3:GetObject", f"{ROOT}/gpuyard/targets.json", {}),
        ("s3:PutObject", f"{ROOT}/gpuyard/submissions/llm-0a1b/run.json", {}),
        ("s3:PutObject", f"{ROOT}/gpuyard/code/00.tar.gz", {}),
        ("kms:GenerateDataKey", str(RUN.key_arn), {"kms:ViaService": "s3.us-east-1.amazonaws.com"}),
        ("logs:GetLogEvents", f"{GROUP}:log-stream:llm/default/6f0c", {}),
        ("logs:FilterLogEvents", f"{GROUP}:*", {}),
        ("logs:GetLogEvents", f"{SHARED}:log-stream:{PREFIX}llm-0a1b/algo-1-1", {}),
        ("sagemaker:CreateTrainingJob", TRAINING, INSIDE),
        ("sagemaker:CreateTrainingJob", TRAINING, INSIDE | {"sagemaker:KeepAlivePeriod": "600"}),
        ("sagemaker:StopTrainingJob", TRAINING, {}),
    ],
)
def test_the_submitter_policy_allows_the_calls_of_a_submission(action: str, resource: str, context: Any) -> None:
    assert allows(document(), action, resource, context)


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("batch:SubmitJob", OTHER_QUEUE, {}),
        ("batch:SubmitJob", THEIRS, {}),
        ("batch:RegisterJobDefinition", SCOPE.arn("batch", "job-definition/payroll"), {}),
        ("batch:RegisterJobDefinition", OURS, {"batch:Privileged": "true"}),
        ("batch:DeregisterJobDefinition", THEIRS, {}),
        ("batch:TerminateJob", JOB, {}),
        ("batch:TerminateJob", JOB, {"aws:ResourceTag/stack": "gpuyard/dev"}),
        ("batch:TagResource", OTHER_QUEUE, {"aws:RequestTag/stack": STACK}),
        ("batch:TagResource", OURS, {"aws:RequestTag/stack": "gpuyard/dev"}),
        ("batch:UpdateJobQueue", QUEUE, {}),
        ("iam:PassRole", "arn:aws:iam::111122223333:role/admin", TASKS),
        ("iam:PassRole", JOB_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
        ("iam:PassRole", TRAIN_ROLE, TASKS),
        ("iam:PassRole", JOB_ROLE, {}),
        ("s3:PutObject", f"{ROOT}/gpuyard/targets.json", {}),
        ("s3:DeleteObject", f"{ROOT}/gpuyard/submissions/llm-0a1b/run.json", {}),
        ("s3:PutObject", f"{ROOT}/gpuyard/runs/llm-0a1b/attempts/1.json", {}),
        ("s3:GetObject", f"{ROOT}/private/x", {}),
        ("s3:ListBucket", ROOT, {"s3:prefix": "private/"}),
        ("s3:ListBucket", "arn:aws:s3:::data", {}),
        ("kms:Decrypt", str(RUN.key_arn), {"kms:ViaService": "secretsmanager.us-east-1.amazonaws.com"}),
        ("secretsmanager:GetSecretValue", SCOPE.arn("secretsmanager", "secret:wandb-AbCdEf"), {}),
        ("logs:GetLogEvents", SCOPE.arn("logs", "log-group:payroll:log-stream:a"), {}),
        ("logs:GetLogEvents", f"{SHARED}:log-stream:payroll/algo-1", {}),
        ("logs:FilterLogEvents", SHARED, {}),
        ("sagemaker:CreateTrainingJob", TRAINING, {}),
        ("sagemaker:CreateTrainingJob", TRAINING, INSIDE | {"sagemaker:VpcSubnets": ["subnet-0a", "subnet-99"]}),
        ("sagemaker:CreateTrainingJob", TRAINING, INSIDE | {"sagemaker:InstanceTypes": ["ml.p5.48xlarge", "ml.p6-b200.48xlarge"]}),
        ("sagemaker:CreateTrainingJob", TRAINING, {key: INSIDE[key] for key in INSIDE if key != "sagemaker:InstanceTypes"}),
        ("sagemaker:CreateTrainingJob", TRAINING, INSIDE | {"sagemaker:KeepAlivePeriod": "3600"}),
        ("sagemaker:CreateTrainingJob", FOREIGN, INSIDE),
        ("sagemaker:StopTrainingJob", FOREIGN, {}),
    ],
)
def test_the_submitter_policy_allows_no_other_calls(action: str, resource: str, context: Any) -> None:
    assert not allows(document(), action, resource, context)


@pytest.mark.parametrize("tag", [None, STACK, "gpuyard/dev"])
def test_a_submitter_cannot_tag_a_job_that_exists(tag: str | None) -> None:
    """A person who can tag a job can stop it, because a submitter may stop every job with the tag of its stack."""
    tags = {"aws:RequestTag/stack": STACK} | ({"aws:ResourceTag/stack": tag} if tag else {})
    assert not allows(document(), "batch:TagResource", JOB, tags)


def test_a_yard_without_a_service_grants_no_permission_on_it() -> None:
    only_batch = json.dumps(policy_document(submitter(SCOPE, RUN, STACK, PREFIX, BatchAccess([QUEUE], GROUP, [JOB_ROLE]), None)))
    assert "sagemaker" not in only_batch
    only_training = json.dumps(
        policy_document(submitter(SCOPE, RUN, STACK, PREFIX, None, SageMakerAccess(TRAIN_ROLE, ["s"], ["g"], ["t"], 0)))
    )
    assert "batch:" not in only_training
