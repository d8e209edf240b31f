"""Table of the wildcards (`*`) that gpuyard's IAM policies may contain, each with reason and source. policy.py rejects all others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

__all__ = ["WILDCARDS", "Wildcard", "is_listed"]

_REFERENCE = "docs.aws.amazon.com/service-authorization/latest/reference/list_"
_S3_PREFIX = "docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html"
_CONFUSED = "docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html"


class Wildcard(NamedTuple):
    """An allowed pattern with a `*`. `{path}` matches text without `:`. Other words in braces match text without `/` and `:`."""

    pattern: str
    actions: tuple[str, ...]
    """The actions that may use the pattern, or the key of a condition."""
    why: str
    source: str
    """The page that documents the reason."""


# fmt: off
WILDCARDS: tuple[Wildcard, ...] = (
    Wildcard("*", ("batch:DescribeComputeEnvironments", "batch:DescribeJobDefinitions", "batch:DescribeJobQueues", "batch:DescribeJobs",
                   "batch:ListJobs"),
             "AWS defines no resource types for these actions; they list jobs, queues and definitions", f"{_REFERENCE}awsbatch.html"),
    Wildcard("*", ("sagemaker:ListTrainingJobs",),
             "AWS defines no resource types for this action; it lists names and states of training jobs",
             f"{_REFERENCE}amazonsagemaker.html"),
    Wildcard("*", ("ecr:GetAuthorizationToken",),
             "AWS defines no resource types for this action; the token alone gives access to no repository",
             f"{_REFERENCE}amazonelasticcontainerregistry.html"),
    Wildcard("*", ("ecs:DiscoverPollEndpoint",),
             "AWS defines no resource types for this action; it returns the address of the service",
             f"{_REFERENCE}amazonelasticcontainerservice.html"),
    Wildcard("*", ("ec2:DescribeTags",), "AWS defines no resource types for this action; it reads tags", f"{_REFERENCE}amazonec2.html"),
    Wildcard("*", ("ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel",
                   "ssmmessages:OpenDataChannel"),
             "AWS defines no resource types for these actions; the machine's SSM agent opens its channels",
             f"{_REFERENCE}amazonsessionmanagermessagegatewayservice.html"),
    Wildcard("*", ("ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
                   "ec2:DescribeVpcs"),
             "AWS defines no resource types for these actions; SageMaker looks up the network before it uses it",
             f"{_REFERENCE}amazonec2.html"),
    Wildcard("*", ("cloudwatch:PutMetricData",),
             "AWS defines no resource types for this action; a condition limits it to SageMaker's namespaces, or to gpuyard",
             f"{_REFERENCE}amazoncloudwatch.html"),
    Wildcard("*", ("ec2:DescribeInstances",),
             "AWS defines no resource types for this action; it reads why a machine shuts down", f"{_REFERENCE}amazonec2.html"),
    Wildcard("arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/*",
             ("autoscaling:SuspendProcesses",),
             "a condition on the tag `stack` limits them; a list of all pools can exceed the length of a policy",
             f"{_REFERENCE}amazonec2autoscaling.html"),
    Wildcard("arn:{partition}:batch:{region}:{account}:compute-environment/*", ("batch:UpdateComputeEnvironment",),
             "a condition on the tag `stack` limits them; a list of all pools can exceed the length of a policy",
             f"{_REFERENCE}awsbatch.html"),
    Wildcard("arn:{partition}:cloudwatch:{region}:{account}:alarm:{prefix}-*", ("cloudwatch:DescribeAlarms",),
             "the alarms of the stack's pools; their names begin with its prefix", f"{_REFERENCE}amazoncloudwatch.html"),
    Wildcard("/aws/sagemaker/*", ("cloudwatch:namespace",),
             "SageMaker writes metrics of its machines to several namespaces", f"{_REFERENCE}amazoncloudwatch.html"),
    Wildcard("arn:{partition}:ec2:{region}:{account}:instance/*", ("ssm:UpdateInstanceInformation",),
             "the machines and their ids do not exist yet", f"{_REFERENCE}awssystemsmanager.html"),
    Wildcard("arn:{partition}:ecs:{region}:{account}:container-instance/{cluster}/*",
             ("ecs:Poll", "ecs:StartTelemetrySession", "ecs:TagResource", "ecs:UpdateContainerInstancesState"),
             "machines register later; the ARN names one cluster", f"{_REFERENCE}amazonelasticcontainerservice.html"),
    Wildcard("arn:{partition}:ecr:{region}:{account}:repository/*",
             ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
             "a job can name an image of any repository in this account and region", f"{_REFERENCE}amazonelasticcontainerregistry.html"),
    Wildcard("arn:{partition}:logs:{region}:{account}:log-group:{path}:log-stream:*",
             ("logs:CreateLogStream", "logs:GetLogEvents", "logs:PutLogEvents"),
             "the service names the log stream of each job and node; the ARN names one log group",
             f"{_REFERENCE}amazoncloudwatchlogs.html"),
    Wildcard("arn:{partition}:logs:{region}:{account}:log-group:{path}:log-stream:{prefix}-*",
             ("logs:CreateLogStream", "logs:GetLogEvents", "logs:PutLogEvents"),
             "all training jobs of the account share the log group; the prefix limits access to this stack's streams",
             f"{_REFERENCE}amazoncloudwatchlogs.html"),
    Wildcard("arn:{partition}:logs:{region}:{account}:log-group:{path}:*",
             ("logs:DescribeLogStreams", "logs:FilterLogEvents"),
             "CloudWatch Logs ends the ARN of a log group with `:*`; the ARN names one log group",
             f"{_REFERENCE}amazoncloudwatchlogs.html"),
    Wildcard("arn:{partition}:batch:{region}:{account}:job-definition/{prefix}-*",
             ("batch:DeregisterJobDefinition", "batch:RegisterJobDefinition", "batch:SubmitJob", "batch:TagResource"),
             "the submitter chooses the name and Batch adds a number; the name begins with this stack's prefix",
             f"{_REFERENCE}awsbatch.html"),
    Wildcard("arn:{partition}:batch:{region}:{account}:job/*", ("batch:CancelJob", "batch:TerminateJob"),
             "Batch chooses job ids; a condition on the tag `stack` limits them", f"{_REFERENCE}awsbatch.html"),
    Wildcard("arn:{partition}:sagemaker:{region}:{account}:training-job/{prefix}-*",
             ("sagemaker:AddTags", "sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob"),
             "the submitter chooses the name of each training job; the name begins with this stack's prefix",
             f"{_REFERENCE}amazonsagemaker.html"),
    Wildcard("arn:{partition}:sagemaker:{region}:{account}:model-package/{group}/*",
             ("sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage"),
             "SageMaker numbers the versions of a model package group; the ARN names one group", f"{_REFERENCE}amazonsagemaker.html"),
    Wildcard("arn:{partition}:ec2:{region}:{account}:network-interface/*",
             ("ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface",
              "ec2:DeleteNetworkInterfacePermission"),
             "the interfaces do not exist yet; the statement also names the subnets", f"{_REFERENCE}amazonec2.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/*", ("s3:GetObject",),
             "reads every object of a bucket with `jobs: read`", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/*", ("s3:GetObject",),
             "reads targets, code and runs in the run bucket", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/runs/*",
             ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject"),
             "jobs write output of runs that do not exist yet", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/submissions/*",
             ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"),
             "the submitter chooses the names of run records", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/code/*", ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"),
             "the submitter chooses the names of code archives", f"{_REFERENCE}amazons3.html"),
    Wildcard("gpuyard/*", ("s3:prefix",), "lists only objects below gpuyard/", _S3_PREFIX),
    Wildcard("arn:{partition}:ecs:{region}:{account}:*", ("aws:SourceArn",),
             "Batch creates tasks in this account", _CONFUSED),
    Wildcard("arn:{partition}:sagemaker:{region}:{account}:*", ("aws:SourceArn",),
             "the submitter chooses the names of training jobs in this account", _CONFUSED),
    Wildcard("arn:{partition}:events:{region}:{account}:rule/*", ("aws:SourceArn",),
             "the role must exist before its rule has a target; only rules of this account", _CONFUSED),
    Wildcard("arn:{partition}:states:{region}:{account}:stateMachine:*", ("aws:SourceArn",),
             "the role must exist before its state machine; only state machines of this account", _CONFUSED),
    Wildcard("arn:{partition}:ec2:{region}:{account}:vpc-flow-log/*", ("aws:SourceArn",),
             "the role must exist before the flow log has an id", _CONFUSED),
)
# fmt: on


def is_listed(pattern: str, actions: Iterable[str]) -> bool:
    """Return whether the table allows the pattern for all of the actions (or condition keys)."""
    return all(any(action in row.actions and _pattern_regex(row.pattern).fullmatch(pattern) for row in WILDCARDS) for action in actions)


@cache
def _pattern_regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", pattern)
    words = {"{path}": "[^*?:]+"}
    return re.compile("".join(words.get(part, "[^*?:/]+") if part.startswith("{") else re.escape(part) for part in parts))
