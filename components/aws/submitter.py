"""What may be done by who submits: CI, through a role of its own. Pure. It is the boundary of the yard: see SECURITY.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .permissions import TRAINING_JOBS, Storage, use_keys
from .policy import Conditions, Place, Statement


@dataclass(frozen=True)
class BatchSide:
    """What submitting to Batch concerns."""

    queues: Sequence[str]
    log_group: str
    roles: Sequence[str]
    """Those of a job's containers; nothing else can be passed."""


@dataclass(frozen=True)
class SageMakerSide:
    """What submitting to SageMaker concerns."""

    role: str
    subnet_ids: Sequence[str]
    security_group_ids: Sequence[str]


def submitter(
    place: Place, run: Storage, stack: str, prefix: str, batch: BatchSide | None, sagemaker: SageMakerSide | None
) -> list[Statement]:
    """Submit, watch and stop the jobs of one stack. `prefix`: with which names of definitions and training jobs begin."""
    return [
        *_journal(run),
        *(_batch(place, stack, prefix, batch) if batch else []),
        *(_sagemaker(place, prefix, sagemaker) if sagemaker else []),
    ]


def _journal(run: Storage) -> list[Statement]:
    put = ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject")
    below = {"StringLikeIfExists": {"s3:prefix": "gpuyard/*"}}  # IfExists: see permissions.job
    folders = (f"{run.arn}/gpuyard/code/*", f"{run.arn}/gpuyard/runs/*")
    return [
        Statement(("s3:ListBucket",), (run.arn,), below, "lists runs and tells what is missing from what is forbidden"),
        Statement(("s3:GetObject",), (f"{run.arn}/gpuyard/*",), why="reads targets, records and results"),
        Statement(put, folders, why="writes code and records; targets.json is beyond it, and nothing is deleted"),
        *use_keys([run], write=True),
    ]


def _batch(place: Place, stack: str, prefix: str, side: BatchSide) -> list[Statement]:
    definitions, jobs = place.arn("batch", f"job-definition/{prefix}*"), place.arn("batch", "job/*")
    describe = ("ComputeEnvironments", "JobDefinitions", "JobQueues", "Jobs")
    ours, tagged = {"aws:ResourceTag/stack": stack}, {"aws:RequestTag/stack": stack}
    return [
        Statement(("batch:SubmitJob",), (*side.queues, definitions), why="submits to the queues of this yard, with its definitions alone"),
        Statement(("batch:DeregisterJobDefinition",), (definitions,), why="retires old definitions"),
        Statement(
            ("batch:RegisterJobDefinition",),
            (definitions,),
            {"BoolIfExists": {"batch:Privileged": "false"}},
            "registers what a job runs; never a privileged container",
        ),
        # IfExists: what is tagged while it is made has no tags yet; a job of another stack has, and cannot be made ours
        Statement(
            ("batch:TagResource",),
            (definitions, jobs),
            {"StringEquals": tagged, "StringEqualsIfExists": ours},
            "tags jobs with the stack as they are made",
        ),
        Statement(("batch:CancelJob", "batch:TerminateJob"), (jobs,), {"StringEquals": ours}, "stops jobs with the tag of this stack"),
        Statement((*(f"batch:Describe{what}" for what in describe), "batch:ListJobs"), ("*",), why="watches jobs, finds one after a crash"),
        _pass(side.roles, ["batch.amazonaws.com", "ecs-tasks.amazonaws.com"]),
        *_read_logs(side.log_group, "*"),
        Statement(("logs:FilterLogEvents",), (side.log_group, f"{side.log_group}:*"), why="searches the output of jobs"),
    ]


def _sagemaker(place: Place, prefix: str, side: SageMakerSide) -> list[Statement]:
    jobs = (place.arn("sagemaker", f"training-job/{prefix}*"),)
    within = {"sagemaker:VpcSubnets": sorted(side.subnet_ids), "sagemaker:VpcSecurityGroupIds": sorted(side.security_group_ids)}
    inside: Conditions = {"ForAllValues:StringEquals": within, "Null": dict.fromkeys(within, "false")}
    watch = ("sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob")
    return [
        Statement(("sagemaker:CreateTrainingJob",), jobs, inside, "submits training jobs inside the yard's network alone"),
        Statement(("sagemaker:AddTags", *watch), jobs, why="tags them as they are made, watches and stops them"),
        Statement(("sagemaker:ListTrainingJobs",), ("*",), why="looks at many jobs with one call; it tells names and states, no more"),
        _pass([side.role], ["sagemaker.amazonaws.com"]),
        *_read_logs(place.arn("logs", f"log-group:{TRAINING_JOBS}"), f"{prefix}*"),  # a group that others share: no search in it
    ]


def _pass(roles: Sequence[str], services: list[str]) -> Statement:
    condition = {"StringEquals": {"iam:PassedToService": services}}
    return Statement(("iam:PassRole",), tuple(roles), condition, "hands a job its role, and no other")


def _read_logs(group: str, streams: str) -> list[Statement]:
    return [
        Statement(("logs:GetLogEvents",), (f"{group}:log-stream:{streams}",), why="reads the output of jobs"),
        Statement(("logs:DescribeLogStreams",), (group, f"{group}:*"), why="finds the output of jobs"),
    ]
