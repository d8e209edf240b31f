"""Every `*` that a policy of ours holds, with the reason: the one table. What is not in it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

_REFERENCE = "docs.aws.amazon.com/service-authorization/latest/reference/list_"
_S3_PREFIX = "docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html"
_CONFUSED = "docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html"


class Wildcard(NamedTuple):
    """One pattern with a `*`. In it {word} stands for a part without `/` and `:`, {path} for one that may hold `/`."""

    pattern: str
    actions: tuple[str, ...]
    """Those that may be granted on it; for a condition its key alone."""
    why: str
    source: str
    """The page that says so."""


# fmt: off
WILDCARDS: tuple[Wildcard, ...] = (
    Wildcard("*", ("batch:DescribeComputeEnvironments", "batch:DescribeJobDefinitions", "batch:DescribeJobQueues", "batch:DescribeJobs",
                   "batch:ListJobs"),
             "AWS has no resource types for them: they read what jobs, queues and definitions there are", f"{_REFERENCE}awsbatch.html"),
    Wildcard("*", ("sagemaker:ListTrainingJobs",),
             "no resource types: it reads names and states of training jobs", f"{_REFERENCE}amazonsagemaker.html"),
    Wildcard("*", ("ecr:GetAuthorizationToken",),
             "no resource types: a token alone opens no repository", f"{_REFERENCE}amazonelasticcontainerregistry.html"),
    Wildcard("*", ("ecs:DiscoverPollEndpoint",),
             "no resource types: it returns the address of the service", f"{_REFERENCE}amazonelasticcontainerservice.html"),
    Wildcard("*", ("ec2:DescribeTags",), "no resource types: it reads tags", f"{_REFERENCE}amazonec2.html"),
    Wildcard("*", ("ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel",
                   "ssmmessages:OpenDataChannel"),
             "no resource types: the channels of the machine's own agent", f"{_REFERENCE}amazonsessionmanagermessagegatewayservice.html"),
    Wildcard("*", ("ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
                   "ec2:DescribeVpcs"),
             "no resource types: SageMaker looks the network up before it places machines in it", f"{_REFERENCE}amazonec2.html"),
    Wildcard("*", ("cloudwatch:PutMetricData",),
             "no resource types: narrowed to SageMaker's namespaces by a condition", f"{_REFERENCE}amazoncloudwatch.html"),
    Wildcard("/aws/sagemaker/*", ("cloudwatch:namespace",),
             "SageMaker writes the metrics of its machines in several namespaces of its own", f"{_REFERENCE}amazoncloudwatch.html"),
    Wildcard("arn:{partition}:ec2:{region}:{account}:instance/*", ("ssm:UpdateInstanceInformation",),
             "the ids of machines that do not exist yet", f"{_REFERENCE}awssystemsmanager.html"),
    Wildcard("arn:{partition}:ecs:{region}:{account}:cluster/AWSBatch-*",
             ("ecs:DeregisterContainerInstance", "ecs:RegisterContainerInstance", "ecs:SubmitAttachmentStateChanges",
              "ecs:SubmitContainerStateChange", "ecs:SubmitTaskStateChange"),
             "Batch names the cluster of a compute environment, and makes it after the environment, which needs this role first; "
             "no cluster of others begins so", "docs.aws.amazon.com/aws-managed-policy/latest/reference/BatchServiceRolePolicy.html"),
    Wildcard("arn:{partition}:ecs:{region}:{account}:container-instance/AWSBatch-*",
             ("ecs:Poll", "ecs:StartTelemetrySession", "ecs:TagResource", "ecs:UpdateContainerInstancesState"),
             "machines that register later, in a cluster that Batch names",
             "docs.aws.amazon.com/aws-managed-policy/latest/reference/BatchServiceRolePolicy.html"),
    Wildcard("arn:{partition}:ecr:{region}:{account}:repository/*",
             ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
             "a job names its own image: any repository of this account and region", f"{_REFERENCE}amazonelasticcontainerregistry.html"),
    Wildcard("arn:{partition}:logs:{region}:{account}:log-group:{path}:log-stream:*",
             ("logs:CreateLogStream", "logs:GetLogEvents", "logs:PutLogEvents"),
             "the service names a stream for each job and node; the group is exact", f"{_REFERENCE}amazoncloudwatchlogs.html"),
    Wildcard("arn:{partition}:logs:{region}:{account}:log-group:{path}:log-stream:{prefix}-*",
             ("logs:CreateLogStream", "logs:GetLogEvents", "logs:PutLogEvents"),
             "streams in a group that all training jobs of the account share begin with the job's name: those of this stack",
             f"{_REFERENCE}amazoncloudwatchlogs.html"),
    Wildcard("arn:{partition}:logs:{region}:{account}:log-group:{path}:*",
             ("logs:DescribeLogStreams", "logs:FilterLogEvents"),
             "the form in which the log service writes a group's ARN; the group is exact", f"{_REFERENCE}amazoncloudwatchlogs.html"),
    Wildcard("arn:{partition}:batch:{region}:{account}:job-definition/{prefix}-*",
             ("batch:DeregisterJobDefinition", "batch:RegisterJobDefinition", "batch:SubmitJob", "batch:TagResource"),
             "definitions are named by content and numbered by Batch; the prefix is this stack's", f"{_REFERENCE}awsbatch.html"),
    Wildcard("arn:{partition}:batch:{region}:{account}:job/*", ("batch:CancelJob", "batch:TagResource", "batch:TerminateJob"),
             "Batch chooses the ids of jobs; the tag `stack` is the condition", f"{_REFERENCE}awsbatch.html"),
    Wildcard("arn:{partition}:sagemaker:{region}:{account}:training-job/{prefix}-*",
             ("sagemaker:AddTags", "sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob"),
             "a training job is named by its run; the prefix is this stack's", f"{_REFERENCE}amazonsagemaker.html"),
    Wildcard("arn:{partition}:sagemaker:{region}:{account}:model-package/{group}/*",
             ("sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage"),
             "SageMaker numbers the versions in a group; the group is exact", f"{_REFERENCE}amazonsagemaker.html"),
    Wildcard("arn:{partition}:ec2:{region}:{account}:network-interface/*",
             ("ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface",
              "ec2:DeleteNetworkInterfacePermission"),
             "the ids of interfaces that do not exist yet; the subnets are exact", f"{_REFERENCE}amazonec2.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/*", ("s3:GetObject",),
             "all objects of a bucket with jobs: read", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/*", ("s3:GetObject",),
             "targets, code and runs in the run bucket", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/runs/*",
             ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject"),
             "the objects of runs that do not exist yet", f"{_REFERENCE}amazons3.html"),
    Wildcard("arn:{partition}:s3:::{bucket}/gpuyard/code/*", ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"),
             "code archives, named by content", f"{_REFERENCE}amazons3.html"),
    Wildcard("gpuyard/*", ("s3:prefix",), "listings below gpuyard/ alone", _S3_PREFIX),
    Wildcard("arn:{partition}:ecs:{region}:{account}:*", ("aws:SourceArn",),
             "the tasks of this account: Batch makes them", _CONFUSED),
    Wildcard("arn:{partition}:sagemaker:{region}:{account}:*", ("aws:SourceArn",),
             "the training jobs of this account: named when submitted", _CONFUSED),
    Wildcard("arn:{partition}:ec2:{region}:{account}:vpc-flow-log/*", ("aws:SourceArn",),
             "the flow logs of this account: the role must be there before its flow log has an id", _CONFUSED),
)
# fmt: on


def explained(pattern: str, actions: Iterable[str]) -> bool:
    """Whether the table has a row for each of the actions (or condition keys) on this pattern."""
    return all(any(action in row.actions and _shape(row.pattern).fullmatch(pattern) for row in WILDCARDS) for action in actions)


@cache
def _shape(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", pattern)
    words = {"{path}": "[^*?:]+"}
    return re.compile("".join(words.get(part, "[^*?:/]+") if part.startswith("{") else re.escape(part) for part in parts))
