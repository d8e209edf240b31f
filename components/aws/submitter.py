"""Permissions of the submitter role that CI pipelines use. SECURITY.md describes its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...run_bucket import SUBMITTERS_WRITE
from .permissions import TRAINING_JOBS, Storage, use_keys
from .policy import ArnScope, Conditions, Statement

__all__ = ["BatchAccess", "SageMakerAccess", "submitter"]


@dataclass(frozen=True)
class BatchAccess:
    """Batch resources that a submitter may use."""

    queues: Sequence[str]
    log_group: str
    roles: Sequence[str]
    """Roles of a job's containers, the only roles that the submitter can pass."""


@dataclass(frozen=True)
class SageMakerAccess:
    """Role and network that a submitter may use for training jobs."""

    role: str
    subnet_ids: Sequence[str]
    security_group_ids: Sequence[str]
    instance_types: Sequence[str]
    keep_alive_s: int
    """The longest time that a pool keeps machines warm after a job."""


def submitter(
    scope: ArnScope, run: Storage, stack: str, prefix: str, batch: BatchAccess | None, sagemaker: SageMakerAccess | None
) -> list[Statement]:
    """Return the permissions to submit, watch and stop jobs of one stack. `prefix`: prefix of definition and training job names."""
    return [
        *_journal(run),
        *(_batch(scope, stack, prefix, batch) if batch else []),
        *(_sagemaker(scope, prefix, sagemaker) if sagemaker else []),
    ]


def _journal(run: Storage) -> list[Statement]:
    put = ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject")
    below = {"StringLikeIfExists": {"s3:prefix": "gpuyard/*"}}  # IfExists: see permissions.job
    folders = tuple(f"{run.arn}/{folder}*" for folder in SUBMITTERS_WRITE)
    return [
        Statement(
            ("s3:ListBucket",), (run.arn,), below, "lists runs; without this permission S3 answers 403, not 404, for a missing object"
        ),
        Statement(("s3:GetObject",), (f"{run.arn}/gpuyard/*",), why="reads targets, records and results"),
        Statement(put, folders, why="writes code and run records; cannot write targets.json or the output of jobs; cannot delete"),
        *use_keys([run], write=True),
    ]


def _batch(scope: ArnScope, stack: str, prefix: str, access: BatchAccess) -> list[Statement]:
    definitions, jobs = scope.arn("batch", f"job-definition/{prefix}*"), scope.arn("batch", "job/*")
    describe = ("ComputeEnvironments", "JobDefinitions", "JobQueues", "Jobs")
    ours, tagged = {"aws:ResourceTag/stack": stack}, {"aws:RequestTag/stack": stack}
    return [
        Statement(
            ("batch:SubmitJob",),
            (*access.queues, definitions),
            why="submits jobs to this yard's queues, only with this yard's job definitions",
        ),
        Statement(("batch:DeregisterJobDefinition",), (definitions,), why="deregisters old definitions"),
        Statement(
            ("batch:RegisterJobDefinition",),
            (definitions,),
            {"BoolIfExists": {"batch:Privileged": "false"}},
            "registers job definitions, without privileged containers",
        ),
        # SubmitJob with tags needs this on the resources that it names: definition (github.com/wri/gfw-data-api pull request 175) and
        # queue. No permission on jobs: IAM cannot distinguish another user's untagged job from a new one, and a tagged job can be stopped.
        # IfExists: a new definition has no tags yet
        Statement(
            ("batch:TagResource",),
            (*access.queues, definitions),
            {"StringEquals": tagged, "StringEqualsIfExists": ours},
            "tags definitions and jobs with the stack when it creates them; cannot tag a job that exists",
        ),
        Statement(("batch:CancelJob", "batch:TerminateJob"), (jobs,), {"StringEquals": ours}, "stops jobs with the tag of this stack"),
        Statement(
            (*(f"batch:Describe{what}" for what in describe), "batch:ListJobs"),
            ("*",),
            why="watches jobs; finds a job again after a crash of the submitter",
        ),
        _pass(access.roles, ["batch.amazonaws.com", "ecs-tasks.amazonaws.com"]),
        *_read_logs(access.log_group, "*"),
        Statement(("logs:FilterLogEvents",), (access.log_group, f"{access.log_group}:*"), why="searches job output"),
    ]


def _sagemaker(scope: ArnScope, prefix: str, access: SageMakerAccess) -> list[Statement]:
    jobs = (scope.arn("sagemaker", f"training-job/{prefix}*"),)
    within = {
        "sagemaker:InstanceTypes": sorted(set(access.instance_types)),
        "sagemaker:VpcSubnets": sorted(access.subnet_ids),
        "sagemaker:VpcSecurityGroupIds": sorted(access.security_group_ids),
    }
    inside: Conditions = {
        "ForAllValues:StringEquals": within,
        "Null": dict.fromkeys(within, "false"),
        "NumericLessThanEqualsIfExists": {"sagemaker:KeepAlivePeriod": str(access.keep_alive_s)},
    }
    watch = ("sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob")
    return [
        Statement(
            ("sagemaker:CreateTrainingJob",),
            jobs,
            inside,
            "submits training jobs only into the yard's network and on its machine types; IAM has no condition on the number of machines, "
            "so the account's quota for the type is the limit",
        ),
        Statement(("sagemaker:AddTags", *watch), jobs, why="tags training jobs when it creates them, watches and stops them"),
        Statement(("sagemaker:ListTrainingJobs",), ("*",), why="reads names and states of many jobs with one call"),
        _pass([access.role], ["sagemaker.amazonaws.com"]),
        *_read_logs(scope.arn("logs", f"log-group:{TRAINING_JOBS}"), f"{prefix}*"),  # other stacks share this group, so no search in it
    ]


def _pass(roles: Sequence[str], services: list[str]) -> Statement:
    condition = {"StringEquals": {"iam:PassedToService": services}}
    return Statement(("iam:PassRole",), tuple(roles), condition, "passes a job its role, and no other role")


def _read_logs(group: str, streams: str) -> list[Statement]:
    return [
        Statement(("logs:GetLogEvents",), (f"{group}:log-stream:{streams}",), why="reads job output"),
        Statement(("logs:DescribeLogStreams",), (group, f"{group}:*"), why="finds the log streams of jobs"),
    ]
