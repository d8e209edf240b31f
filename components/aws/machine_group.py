"""The machines of a `vms` pool: an Auto Scaling group in one zone, its scheduled end, and shell commands for other launchers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict
from ..expiry import End
from ..pool_base import LauncherCommands, torchrun_command
from .launch_template import PreparedMachines
from .permissions import pull, shell, write_logs
from .policy import ArnScope, Statement

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["close_group", "launcher_commands", "machine_group", "machine_statements"]


def launcher_commands(group: str, region: str, max_nodes: int, gpus: int) -> LauncherCommands:
    """Return shell commands that scale an Auto Scaling group, list its machines and start torchrun on them."""
    running = (
        f"aws ec2 describe-instances --region {region} --filters Name=tag:aws:autoscaling:groupName,Values={group} "
        "Name=instance-state-name,Values=running --query 'Reservations[].Instances[].PrivateIpAddress' --output text"
    )
    first = (
        f"aws autoscaling describe-auto-scaling-groups --region {region} --auto-scaling-group-names {group} "
        "--query 'AutoScalingGroups[0].Instances[0].InstanceId' --output text"
    )
    return LauncherCommands(
        scale=f"aws autoscaling set-desired-capacity --region {region} --auto-scaling-group-name {group} --desired-capacity {max_nodes}",
        hostfile=f"{running} | tr '\\t' '\\n' | sort > hosts",
        torchrun=torchrun_command(group, gpus),
        reach=f'aws ssm start-session --region {region} --target "$({first})"',
    )


def machine_statements(scope: ArnScope, log_group: str) -> list[Statement]:
    """Return the permissions of a machine: pull images, write the logs of containers, offer a shell through Session Manager."""
    shipped = write_logs(
        [scope.arn("logs", f"log-group:{log_group}")], "the container runtime sends the output of containers with the machine's role"
    )
    return [*pull(scope, None), *shipped, *shell(scope)]


def machine_group(pool: GpuPool, machines: PreparedMachines) -> aws.autoscaling.Group:
    """Make the group with `min_nodes` machines. A user or launcher scales it up to `max_nodes`.

    The group has no desired capacity, because `pulumi up --refresh` would reset it and terminate machines in use. `pulumi up` does not wait
    for machines, because scarce GPUs can take days. AZRebalance is suspended, so that AWS does not replace running machines.
    """
    version = machines.template.latest_version.apply(lambda found: str(int(found)))
    return aws.autoscaling.Group(
        pool.child_name("machines"),
        min_size=0 if pool.closed else pool.spec.min_nodes,
        max_size=0 if pool.closed else pool.spec.max_nodes,
        vpc_zone_identifiers=[pool.subnet_ids[0]],
        wait_for_capacity_timeout="0",
        suspended_processes=["AZRebalance"],
        health_check_type="EC2",
        tags=[
            {"key": key, "value": value, "propagate_at_launch": key != "Name"}  # the launch template sets the machines' Name
            for key, value in pool.aws_tags("machines").items()
        ],
        opts=pool.child_options(),
        **_launch_options(pool, machines.template.id, version),
    )


def _launch_options(pool: GpuPool, template: pulumi.Output[str], version: pulumi.Output[str]) -> PlainDict:
    if pool.spec.mode != "spot":
        return {"launch_template": {"id": template, "version": version}}
    only_spot = {
        "on_demand_base_capacity": 0,
        "on_demand_percentage_above_base_capacity": 0,
        "spot_allocation_strategy": "price-capacity-optimized",
    }
    source = {"launch_template_id": template, "version": version}
    of = {"launch_template_specification": source, "overrides": [{"instance_type": pool.machine.name}]}
    return {"mixed_instances_policy": {"instances_distribution": only_spot, "launch_template": of}}


def close_group(pool: GpuPool, end: End, group: aws.autoscaling.Group) -> None:
    """Schedule the pool's end: the group then terminates all machines and starts no new machines."""
    aws.autoscaling.Schedule(
        pool.child_name("end"),
        autoscaling_group_name=group.name,
        scheduled_action_name="end",
        start_time=f"{end.at:%Y-%m-%dT%H:%M:%SZ}",
        min_size=0,
        max_size=0,
        desired_capacity=0,
        opts=pool.child_options(),
    )
