"""The machines of a `batch` pool: a managed compute environment with the pool's launch template, and a schedule that disables it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict
from ..base import after
from ..expiry import End
from .account import Account
from .identity import Identity
from .launch_template import PreparedMachines
from .permissions import cluster_member
from .policy import Statement, policy_document
from .trust import Trust

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["close_environment", "close_request", "close_statements", "compute_environment", "join_cluster"]

_IMAGE_TYPE = "ECS_AL2023_NVIDIA"
_UPDATE_MINUTES = 360
"""Minutes that running jobs may continue before an update replaces their machines. Batch accepts 7200, but the provider and botocore
1.43.117 accept at most 360 (hashicorp/terraform-provider-aws issue 48709)."""
_IMAGE_PROPERTY = "computeResources.ec2Configurations[0].imageIdOverride"


def compute_environment(pool: GpuPool, machines: PreparedMachines, nodes: Identity) -> aws.batch.ComputeEnvironment:
    """Make the environment. Batch starts machines for jobs, up to `max_nodes` (it may exceed this by one machine), and stops idle ones.

    Every change of the environment must be an update in place, because a replacement terminates its jobs. Batch updates in place only with
    the allocation strategies below and its own service role: docs.aws.amazon.com/batch/latest/userguide/infrastructure-updates.html. Batch
    also allows SPOT_PRICE_CAPACITY_OPTIMIZED, but the provider replaces such an environment (hashicorp/terraform-provider-aws issue 38695).
    The environment names the version of the launch template, so a new version is an update in place. After an update, running jobs keep
    their machines for at most six hours, the provider's maximum.

    A pool without a pinned image keeps the image that it was created with. Otherwise each new ECS image would be an update. `gpuyard pin`
    moves the pool to a newer image.
    """
    spec, row, spot = pool.spec, pool.machine, pool.spec.mode == "spot"
    resources: PlainDict = {
        "type": "SPOT" if spot else "EC2",
        "allocation_strategy": "SPOT_CAPACITY_OPTIMIZED" if spot else "BEST_FIT_PROGRESSIVE",
        "min_vcpus": 0 if pool.closed else spec.min_nodes * row.vcpus,
        "max_vcpus": spec.max_nodes * row.vcpus,
        "instance_types": [row.name],
        "instance_role": nodes.instance_profile_arn,
        "subnets": [pool.subnet_ids[0]],
        "ec2_configurations": [{"image_type": _IMAGE_TYPE, "image_id_override": machines.image}],
        "launch_template": {"launch_template_id": machines.template.id, "version": machines.template.latest_version.apply(_version_text)},
    }
    if not row.fast_nics:  # Batch refuses it beside network interfaces in the launch template
        resources["security_group_ids"] = [pool.security_group_id]
    if machines.placement is not None:
        resources["placement_group"] = machines.placement
    return aws.batch.ComputeEnvironment(
        pool.child_name("environment"),
        type="MANAGED",
        state="DISABLED" if pool.closed else "ENABLED",
        compute_resources=resources,
        update_policy={"job_execution_timeout_minutes": _UPDATE_MINUTES, "terminate_jobs_on_update": False},
        tags=pool.aws_tags("environment"),
        opts=pool.child_options(depends_on=_container_rules(pool), ignore_changes=[] if spec.image is not None else [_IMAGE_PROPERTY]),
    )


def join_cluster(pool: GpuPool, environment: aws.batch.ComputeEnvironment) -> pulumi.Output[str]:
    """Allow the pool's machines to join the environment's cluster. Return the environment's ARN, which is known only after that.

    The policy is separate from the machines' role: the environment needs the role, and Batch names the cluster only later.
    """
    policy = aws.iam.RolePolicy(
        pool.child_name("cluster"),
        role=pool.node_role_name,
        policy=environment.ecs_cluster_arn.apply(lambda arn: json.dumps(policy_document(cluster_member(arn)))),
        opts=pool.child_options(),
    )
    return after(environment.arn, [policy.id])


def _container_rules(pool: GpuPool) -> Sequence[pulumi.Resource]:
    """Add rules to the VPC's default security group if it contains the containers of this pool. Return the rules."""
    group = pool.network.default_group
    return group.open() if group is not None and pool.machine.fast_nics and pool.nodes > 1 else []


def close_environment(pool: GpuPool, end: End, environment_arn: pulumi.Output[str], account: Account) -> None:
    """Schedule the pool's end: the environment then starts no new job and stops idle machines. Running jobs keep their machines."""
    role = Identity(
        pool.child_name("scheduler"),
        trust=Trust(service="scheduler.amazonaws.com"),
        statements=environment_arn.apply(close_statements),
        account=account,
        opts=pool.child_options(),
    )
    aws.scheduler.Schedule(
        pool.child_name("end"),
        description=f"takes the pool {pool.logical_name} to zero nodes: {end.because}",
        schedule_expression=f"at({end.at:%Y-%m-%dT%H:%M:%S})",
        schedule_expression_timezone="UTC",
        flexible_time_window={"mode": "OFF"},
        target={
            "arn": account.partition.apply(lambda partition: f"arn:{partition}:scheduler:::aws-sdk:batch:updateComputeEnvironment"),
            "role_arn": role.role_arn,
            "input": environment_arn.apply(close_request),
        },
        opts=pool.child_options(),
    )


def close_request(environment_arn: str) -> str:
    """Return the request that disables an environment, as JSON. EventBridge Scheduler requires keys that begin with a capital letter."""
    body = {"ComputeEnvironment": environment_arn, "State": "DISABLED", "ComputeResources": {"MinvCpus": 0}}
    return json.dumps(body)


def close_statements(environment_arn: str) -> list[Statement]:
    """Return the scheduler's permissions: it may update only this environment."""
    return [Statement(("batch:UpdateComputeEnvironment",), (environment_arn,), why="takes the pool to zero nodes at its end")]


def _version_text(version: Any) -> str:
    return str(int(version))
