"""The AWS services for which a network gets VPC endpoints, and the reason for each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["GATEWAY", "INTERFACE", "service_name"]

GATEWAY: Mapping[str, str] = MappingProxyType(
    {
        "s3": "code, data and checkpoints; the layers of images",
        "dynamodb": "free of charge; many training scripts store metadata in it",
    }
)
"""Gateway endpoints, in every network: they are free and keep traffic off the NAT gateway."""

# Interface endpoints are billed by the hour and zone, so each value names the use. Not needed: ec2messages (current SSM agents use
# ssmmessages, and nodes have no permission for the older one), sts (gpuyard does not call it on a node: roles come from the metadata
# service), kms (S3, EBS and CloudWatch Logs call it themselves), sagemaker.api and sagemaker.runtime (nodes of a training job do not call
# them).
INTERFACE: Mapping[str, str] = MappingProxyType(
    {
        "ssm": "nodes register for Session Manager, the only way to a shell",
        "ssmmessages": "the shell session",
        "ecr.api": "token and layer list of a job's image",
        "ecr.dkr": "manifest of a job's image; the layers come from S3",
        "logs": "the output of jobs",
        "ecs": "the ECS agent registers a Batch node",
        "ecs-agent": "the ECS agent receives tasks from Batch",
        "ecs-telemetry": "the ECS agent reports metrics; without the endpoint it restarts in a loop",
        "ec2": "the ECS agent reads the machine's tags before it registers the node",
        "secretsmanager": "secrets of jobs, read when a container starts",
    }
)


def service_name(service: str, region: str) -> str:
    """Return the endpoint name of a service.

    >>> service_name("ecr.api", "us-east-1")
    'com.amazonaws.us-east-1.ecr.api'
    """
    return f"com.amazonaws.{region}.{service}"
