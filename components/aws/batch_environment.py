"""The machines of a `batch` pool: a managed compute environment on the pool's launch template, and what takes it to zero."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pulumi_aws as aws

from .. import catalogue
from ..expiry import End
from ..spec.pool import GpuPoolSpec
from .account import Account, AwsComponent
from .identity import Identity
from .policy import Statement
from .trust import Trust

_IMAGE_TYPE = "ECS_AL2023_NVIDIA"
_UPDATE_MINUTES = 360  # the longest that jobs may go on while machines are replaced


def compute_environment(
    pool: AwsComponent,
    spec: GpuPoolSpec,
    row: catalogue.Machine,
    *,
    template: aws.ec2.LaunchTemplate,
    image: pulumi.Input[str],
    subnet_id: pulumi.Input[str],
    security_group_id: pulumi.Input[str],
    nodes: Identity,
    placement: aws.ec2.PlacementGroup | None,
    closed: bool,
) -> aws.batch.ComputeEnvironment:
    """Batch starts machines for jobs and stops idle ones; with jobs that fit badly it may go one machine above the maximum.

    These two strategies and Batch's own service role (none is named) are what lets it take changes in place:
    docs.aws.amazon.com/batch/latest/userguide/infrastructure-updates.html. Batch takes SPOT_PRICE_CAPACITY_OPTIMIZED too, but the provider
    replaces the environment then (hashicorp/terraform-provider-aws issue 38695), running jobs and all; with one type in one zone there is
    nothing for the price to choose. The version of the template is named, so that a new one is such a change; jobs that run then have six
    hours.
    """
    spot = spec.mode == "spot"
    resources: dict[str, Any] = {
        "type": "SPOT" if spot else "EC2",
        "allocation_strategy": "SPOT_CAPACITY_OPTIMIZED" if spot else "BEST_FIT_PROGRESSIVE",
        "min_vcpus": 0 if closed else spec.min_nodes * row.vcpus,
        "max_vcpus": spec.max_nodes * row.vcpus,
        "instance_types": [row.name],
        "instance_role": nodes.instance_profile_arn,
        "subnets": [subnet_id],
        # also here: the interface of a multi-node job's container is not in the template, and would be in the VPC's default group
        "security_group_ids": [security_group_id],
        "ec2_configurations": [{"image_type": _IMAGE_TYPE, "image_id_override": image}],
        "launch_template": {"launch_template_id": template.id, "version": template.latest_version.apply(_whole)},
    }
    if placement is not None:
        resources["placement_group"] = placement.name
    return aws.batch.ComputeEnvironment(
        pool.child_name("environment"),
        type="MANAGED",
        state="DISABLED" if closed else "ENABLED",
        compute_resources=resources,
        update_policy={"job_execution_timeout_minutes": _UPDATE_MINUTES, "terminate_jobs_on_update": False},
        tags=pool.aws_tags("environment"),
        opts=pool.child_options(),
    )


def close_environment(pool: AwsComponent, end: End, environment_arn: pulumi.Output[str], where: Account) -> None:
    """At the end no new job starts and no machine is held; a job that runs goes on to its own end, and its machines go with it."""
    role = Identity(
        pool.child_name("scheduler"),
        trust=Trust(service="scheduler.amazonaws.com"),
        statements=environment_arn.apply(close_statements),
        where=where,
        opts=pool.child_options(),
    )
    aws.scheduler.Schedule(
        pool.child_name("end"),
        description=f"takes the pool {pool.logical_name} to zero nodes: {end.because}",
        schedule_expression=f"at({end.at:%Y-%m-%dT%H:%M:%S})",
        schedule_expression_timezone="UTC",
        flexible_time_window={"mode": "OFF"},
        target={
            "arn": where.partition.apply(lambda partition: f"arn:{partition}:scheduler:::aws-sdk:batch:updateComputeEnvironment"),
            "role_arn": role.role_arn,
            "input": environment_arn.apply(close_request),
        },
        opts=pool.child_options(),
    )


def close_request(environment_arn: str) -> str:
    """The call that closes an environment, in the scheduler's spelling: every word begins with a capital."""
    body = {"ComputeEnvironment": environment_arn, "State": "DISABLED", "ComputeResources": {"MinvCpus": 0}}
    return json.dumps(body)


def close_statements(environment_arn: str) -> list[Statement]:
    """What the scheduler may do: change this one environment."""
    return [Statement(("batch:UpdateComputeEnvironment",), (environment_arn,), why="takes the pool to zero nodes at its end")]


def _whole(version: Any) -> str:
    return str(int(version))
