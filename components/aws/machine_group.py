"""The machines of a `vms` pool: an Auto Scaling group in one zone, what takes it to zero, and the lines that other launchers need."""

from __future__ import annotations

from typing import Any, NamedTuple

import pulumi
import pulumi_aws as aws

from .. import catalogue
from ..expiry import End
from ..spec.pool import GpuPoolSpec
from .account import AwsComponent
from .permissions import pull, shell, write_logs
from .policy import Place, Statement

_RENDEZVOUS_PORT = 29400  # torchrun's own default


class Lines(NamedTuple):
    """What people type on machines that no job service knows."""

    scale: str
    hostfile: str
    torchrun: str


def launcher_lines(group: str, region: str, max_nodes: int, gpus: int) -> Lines:
    """Commands for a shell: start all machines, write the running ones to `hosts` (one address a line), run a script on all of them.

    The torchrun line is the same on every machine; the first of `hosts` is the meeting point.
    """
    running = (
        f"aws ec2 describe-instances --region {region} --filters Name=tag:aws:autoscaling:groupName,Values={group} "
        "Name=instance-state-name,Values=running --query 'Reservations[].Instances[].PrivateIpAddress' --output text"
    )
    return Lines(
        scale=f"aws autoscaling set-desired-capacity --region {region} --auto-scaling-group-name {group} --desired-capacity {max_nodes}",
        hostfile=f"{running} | tr '\\t' '\\n' | sort > hosts",
        torchrun=f'torchrun --nnodes="$(grep -c . hosts)" --nproc-per-node={gpus} --rdzv-backend=c10d --rdzv-id={group} '
        f'--rdzv-endpoint="$(head -n 1 hosts):{_RENDEZVOUS_PORT}" train.py',
    )


def machine_statements(place: Place, log_group: str) -> list[Statement]:
    """What a machine of the pool may do: pull images, ship the output of containers, offer a shell through Session Manager."""
    shipped = write_logs(
        [place.arn("logs", f"log-group:{log_group}")], "the container runtime ships the output of containers with the machine's role"
    )
    return [*pull(place, None), *shipped, *shell(place)]


def machine_group(
    pool: AwsComponent,
    spec: GpuPoolSpec,
    row: catalogue.Machine,
    *,
    template: aws.ec2.LaunchTemplate,
    subnet_id: pulumi.Input[str],
    closed: bool,
) -> aws.autoscaling.Group:
    """`min_nodes` machines at first; whoever launches work asks for more, up to `max_nodes`, and `up` leaves that number alone.

    So no capacity is desired here: an `up --refresh` would take the machines of running work back to it.

    Nothing waits for machines: scarce GPUs may come in days. Nothing moves machines that work: no rebalancing between zones, none on hints.
    """
    version = template.latest_version.apply(lambda found: str(int(found)))
    return aws.autoscaling.Group(
        pool.child_name("machines"),
        min_size=0 if closed else spec.min_nodes,
        max_size=0 if closed else spec.max_nodes,
        vpc_zone_identifiers=[subnet_id],
        wait_for_capacity_timeout="0",
        suspended_processes=["AZRebalance"],
        health_check_type="EC2",
        tags=[
            {"key": key, "value": value, "propagate_at_launch": key != "Name"}  # a machine is named by the template
            for key, value in pool.aws_tags("machines").items()
        ],
        opts=pool.child_options(),
        **_launched_from(spec, row, template.id, version),
    )


def _launched_from(spec: GpuPoolSpec, row: catalogue.Machine, template: Any, version: Any) -> dict[str, Any]:
    if spec.mode != "spot":
        return {"launch_template": {"id": template, "version": version}}
    only_spot = {
        "on_demand_base_capacity": 0,
        "on_demand_percentage_above_base_capacity": 0,
        "spot_allocation_strategy": "price-capacity-optimized",
    }
    source = {"launch_template_id": template, "version": version}
    of = {"launch_template_specification": source, "overrides": [{"instance_type": row.name}]}
    return {"mixed_instances_policy": {"instances_distribution": only_spot, "launch_template": of}}


def close_group(pool: AwsComponent, end: End, group: aws.autoscaling.Group) -> None:
    """At the end all machines go, and none can be asked for."""
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
