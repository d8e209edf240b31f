"""The services a network without a way to the internet still reaches: which ones, and what for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

GATEWAY: Mapping[str, str] = MappingProxyType(
    {
        "s3": "code, data and checkpoints; the layers of images",
        "dynamodb": "free, and what many training scripts keep notes in",
    }
)
"""Always there: they cost nothing and keep traffic off the NAT gateway."""

# Each costs money by the hour in each zone, so each says what stops working without it. Left out, with the reason: ec2messages (newer
# SSM agents speak through ssmmessages, and nodes are not granted the old one), sts (no part of gpuyard on a node calls it: roles reach
# nodes through the metadata service), kms (S3, EBS and the log service call it themselves), sagemaker.api and sagemaker.runtime
# (a training job's nodes are called, they do not call).
INTERFACE: Mapping[str, str] = MappingProxyType(
    {
        "ssm": "nodes register for Session Manager, the only way to a shell",
        "ssmmessages": "the shell itself",
        "ecr.api": "the token and list of layers of a job's image",
        "ecr.dkr": "the image; its layers come from S3",
        "logs": "the output of jobs",
        "ecs": "the agent on a Batch node registers it",
        "ecs-agent": "Batch tells the agent what to run",
        "ecs-telemetry": "the agent reports; it restarts for ever without",
        "secretsmanager": "secrets of jobs, read when a container starts",
    }
)


def service_name(service: str, region: str) -> str:
    """The name of a service's endpoint.

    >>> service_name("ecr.api", "us-east-1")
    'com.amazonaws.us-east-1.ecr.api'
    """
    return f"com.amazonaws.{region}.{service}"
