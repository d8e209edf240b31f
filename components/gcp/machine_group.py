"""The machines of a `vms` pool: an instance group in one zone, its scheduled end, and commands for other launchers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pulumi
from pulumi_gcp import compute

from ..expiry import End
from ..pool_base import LauncherCommands, torchrun_command
from ..spec.capacity import FlexStart
from ..spec.pool import GpuPoolSpec
from .cidr import region_of
from .instance_template import PreparedMachines
from .project import ProjectLookup
from .schedule import request_at_end

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["close_group", "launcher_commands", "machine_group", "request_flex_start"]


def launcher_commands(group: str, project: str, zone: str, spec: GpuPoolSpec, gpus: int, labels: Mapping[str, str]) -> LauncherCommands:
    """Return shell commands that resize an instance group, list its machines and start torchrun on them. `labels` select the machines."""
    managed = f"gcloud compute instance-groups managed --project {project}"
    if isinstance(spec.capacity, FlexStart):
        scale = (
            f"{managed} resize-requests create {group} --zone {zone} --resize-request=all-$(date +%s) "
            f"--resize-by={spec.max_nodes} --requested-run-duration={spec.capacity.max_hours}h"
        )
    else:
        scale = f"{managed} resize {group} --zone {zone} --size {spec.max_nodes}"
    running = (
        f"gcloud compute instances list --project {project} --zones {zone} "
        f"--format='value(networkInterfaces[0].firstof(networkIP,ipv6Address))' "
        f"--filter='status=RUNNING AND {' AND '.join(f'labels.{key}={value}' for key, value in sorted(labels.items()))}'"
    )
    first = f"{managed} list-instances {group} --zone {zone} --limit 1 --format='value(NAME)'"
    return LauncherCommands(
        scale=scale,
        hostfile=f"{running} | sort > hosts",
        torchrun=torchrun_command(group, gpus),
        reach=f'gcloud compute ssh --project {project} --zone {zone} --tunnel-through-iap "$({first})"',
    )


def machine_group(pool: GpuPool, zone: str, machines: PreparedMachines) -> compute.InstanceGroupManager:
    """Make the group with `min_nodes` machines. A user or launcher resizes it; `pulumi up` keeps the new size.

    Flex start: a resize request makes all machines at once. Dense reservation: the group, which must be empty, makes all machines at once
    (BULK: cloud.google.com/compute/docs/instance-groups/about-bulk-mode). Other modes: Google makes as many machines as are available.
    `pulumi up` does not wait for machines, because scarce GPUs may take days. A changed template applies only to new machines.
    """
    spec, closed = pool.spec, pool.closed
    flex = isinstance(spec.capacity, FlexStart)
    return compute.InstanceGroupManager(
        pool.child_name("machines"),
        zone=zone,
        base_instance_name=pool.child_name("machines"),
        versions=[{"instance_template": machines.template.self_link_unique}],
        target_size=0 if closed or flex else spec.min_nodes,
        **({"target_size_policies": [{"mode": "BULK"}]} if machines.bulk else {}),
        update_policy={
            "type": "OPPORTUNISTIC",
            "minimal_action": "REPLACE",
            "max_surge_fixed": 0,
            "max_unavailable_fixed": 1,
        },
        instance_lifecycle_policy={"default_action_on_failure": "DO_NOTHING" if flex else "REPAIR"},
        **({"resource_policies": {"workload_policy": machines.workload_policy}} if machines.workload_policy is not None else {}),
        wait_for_instances=False,
        # Google cannot change the mode of an existing group
        opts=pool.child_options(ignore_changes=[] if closed else ["targetSize"], replace_on_changes=["targetSizePolicies"]),
    )


def request_flex_start(pool: GpuPool, zone: str, group: compute.InstanceGroupManager) -> None:
    """Request the `min_nodes` machines of a flex start pool, all at once. Google keeps the request until the machines are available."""
    spec = pool.spec
    if not isinstance(spec.capacity, FlexStart) or not spec.min_nodes:
        return
    compute.ResizeRequest(
        pool.child_name("request"),
        zone=zone,
        instance_group_manager=group.name,
        resize_by=spec.min_nodes,
        requested_run_duration={"seconds": str(spec.capacity.max_hours * 3600)},
        opts=pool.child_options(),
    )


def close_group(pool: GpuPool, end: End, zone: str, group: compute.InstanceGroupManager, where: ProjectLookup) -> None:
    """Schedule the group's resize to zero machines at the pool's end."""
    uri = pulumi.Output.all(where.id, group.name).apply(
        lambda words: (
            f"https://compute.googleapis.com/compute/v1/projects/{words[0]}/zones/{zone}/instanceGroupManagers/{words[1]}/resize?size=0"
        )
    )
    request_at_end(pool, end, region_of(zone), where, "resize-pools", "POST", uri)
