"""The table of every `*` in an IAM policy of gpuyard, with reason and source. Other wildcards are rejected."""

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
    """One pattern with a `*`. {word} matches text without `/` and `:`; {path} also matches `/`."""

    pattern: str
    actions: tuple[str, ...]
    """The actions that may use the pattern, or the key of a condition."""
    why: str
    source: str
    """The page that documents it."""


# fmt: off
WILDCARDS: tuple[Wildcard, ...] = (
    Wildcard("*", ("batch:DescribeComputeEnvironments", "batch:DescribeJobDefinitions", "batch:DescribeJobQueues", "batch:DescribeJobs",
                   "batch:ListJobs"),
             "AWS defines no resource types for these actions, which list jobs, queues and definitions", f"{_REFERENCE}awsbatch.html"),
    Wildcard("*", ("sagemaker:ListTrainingJobs",),
             "no resource types: it lists names and states of training jobs", f"{_REFERENCE}amazonsagemaker.html"),
    Wildcard("*", ("ecr:GetAuthorizationToken",),
             "no resource types: the token alone gives access to no repository", f"{_REFERENCE}amazonelasticcontainerregistry.html"),
    Wildcard("*", ("ecs:DiscoverPollEndpoint",),
             "no resource types: it returns the address of the service", f"{_REFERENCE}amazonelasticcontainerservice.html"),
    Wildcard("*", ("ec2:DescribeTags",), "no resource types: it reads tags", f"{_REFERENCE}amazonec2.html"),
    Wildcard("*", ("ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel",
                   "ssmmessages:OpenDataChannel"),
             "no resource types: channels of the machine's SSM agent", f"{_REFERENCE}amazonsessionmanagermessagegatewayservice.html"),
    Wildcard("*", ("ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
                   "ec2:DescribeVpcs"),
             "no resource types: SageMaker looks the network up before it places machines in it", f"{_REFERENCE}amazonec2.html"),
    Wildcard("*", ("cloudwatch:PutMetricData",),
             "no resource types: a condition limits it to SageMaker's namespaces", f"{_REFERENCE}amazoncloudwatch.html"),
    Wildcard("/aws/sagemaker/*", ("cloudwatch:namespace",),
             "SageMaker writes metrics of its machines to several namespaces", f"{_REFERENCE}amazoncloudwatch.html"),
    Wildcard("arn:{partition}:ec2:{region}:{account}:instance/*", ("ssm:UpdateInstanceInformation",),
             "the machines and their ids do not exist yet", f"{_REFERENCE}awssystemsmanager.html"),
    Wildcard("arn:{partition}:ecs:{region}:{account}:container-instance/{cluster}/*",
             ("ecs:Poll", "ecs:StartTelemetrySession", "ecs:TagResource", "ecs:UpdateContainerInstancesState"),
             "machines register later; the cluster is exact", f"{_REFERENCE}amazonelasticcontainerservice.html"),
    Wildcard("arn:{partition}:ecr:{region}:{account}:repository/*",
             ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
             "a job chooses its image, so any repository of this account and region", f"{_REFERENCE}amazonelasticcontainerregistry.html"),
    Wildcard("arn:{partition}:logs:{region}:{account}:log-group:{path}:log-stream:*",
             ("logs:CreateLogStream", "logs:GetLogEvents", "logs:PutLogEvents"),
             "the service names the stream of each job and node; the group is exact", f"{_REFERENCE}amazoncloudwatchlogs.html"),
    Wildcard("arn:{partition}:logs:{region}:{account}:log-group:{path}:log-stream:{prefix}-*",
             ("logs:CreateLogStream", "logs:GetLogEvents", "logs:PutLogEvents"),
             "all training jobs of the account share the group; the prefix limits it to streams of this stack",
             f"{_REFERENCE}amazoncloudwatchlogs.html"),
    Wildcard("arn:{partition}:logs:{region}:{account}:log-group:{path}:*",
             ("logs:DescribeLogStreams", "logs:FilterLogEvents"),
             "CloudWatch Logs writes a group's ARN with this ending; the group is exact", f"{_REFERENCE}amazoncloudwatchlogs.html"),
    Wildcard("arn:{partition}:batch:{region}:{account}:job-definition/{prefix}-*",
             ("batch:DeregisterJobDefinition", "batch:RegisterJobDefinition", "batch:SubmitJob", "batch:TagResource"),
             "the submitter chooses the names and Batch adds a number; the prefix is this stack's", f"{_REFERENCE}awsbatch.html"),
    Wildcard("arn:{partition}:batch:{region}:{account}:job/*", ("batch:CancelJob", "batch:TerminateJob"),
             "Batch chooses job ids; a condition on the tag `stack` limits them", f"{_REFERENCE}awsbatch.html"),
    Wildcard("arn:{partition}:sagemaker:{region}:{account}:training-job/{prefix}-*",
             ("sagemaker:AddTags", "sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob"),
             "the submitter chooses the name of each training job; the prefix is this stack's", f"{_REFERENCE}amazonsagemaker.html"),
    Wildcard("arn:{partition}:sagemaker:{region}:{account}:model-package/{group}/*",
             ("sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage"),
             "SageMaker numbers the versions in a group; the group is exact", f"{_REFERENCE}amazonsagemaker.html"),
    Wildcard("arn:{partition}:ec2:{region}:{account}:network-interface/*",
             ("ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface",
              "ec2:DeleteNetworkInterfacePermission"),
             "the interfaces do not exist yet; the subnets are exact", f"{_REFERENCE}amazonec2.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/*", ("s3:GetObject",),
             "reads every object of a bucket with `jobs: read`", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/*", ("s3:GetObject",),
             "targets, code and runs in the run bucket", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/runs/*",
             ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject"),
             "what jobs write, of runs that do not exist yet", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/submissions/*",
             ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"),
             "run records, whose names are chosen at submission", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/code/*", ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"),
             "code archives, whose names are chosen at submission", f"{_REFERENCE}amazons3.html"),
    Wildcard("gpuyard/*", ("s3:prefix",), "listings below gpuyard/ only", _S3_PREFIX),
    Wildcard("arn:{partition}:ecs:{region}:{account}:*", ("aws:SourceArn",),
             "tasks of this account, created by Batch", _CONFUSED),
    Wildcard("arn:{partition}:sagemaker:{region}:{account}:*", ("aws:SourceArn",),
             "training jobs of this account, whose names are chosen at submission", _CONFUSED),
    Wildcard("arn:{partition}:ec2:{region}:{account}:vpc-flow-log/*", ("aws:SourceArn",),
             "flow logs of this account; the role must exist before its flow log has an id", _CONFUSED),
)
# fmt: on


def is_listed(pattern: str, actions: Iterable[str]) -> bool:
    """Tell whether the table allows the pattern for each action or condition key."""
    return all(any(action in row.actions and _pattern_regex(row.pattern).fullmatch(pattern) for row in WILDCARDS) for action in actions)


@cache
def _pattern_regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", pattern)
    words = {"{path}": "[^*?:]+"}
    return re.compile("".join(words.get(part, "[^*?:/]+") if part.startswith("{") else re.escape(part) for part in parts))
