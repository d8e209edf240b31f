"""The machines of a `vms` pool: an instance group in one zone, what takes it to zero, and the lines that other launchers need."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import NamedTuple

import pulumi
from pulumi_gcp import cloudscheduler, compute

from ..expiry import End
from ..spec.pool import FlexStart, GpuPoolSpec
from .cidr import region_of
from .identity import Identity
from .project import GcpComponent, ProjectLookup

_RENDEZVOUS_PORT = 29400  # torchrun's own default
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Lines(NamedTuple):
    """What people type on machines that no job service knows."""

    scale: str
    hostfile: str
    torchrun: str


def launcher_lines(group: str, project: str, zone: str, spec: GpuPoolSpec, gpus: int, labels: Mapping[str, str]) -> Lines:
    """Commands for a shell: start all machines, write the running ones to `hosts` (one address a line), run a script on all of them.

    `labels`: of the machines, and of no others. Bare machines have an address of version 6 alone.
    """
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
    return Lines(
        scale=scale,
        hostfile=f"{running} | sort > hosts",
        torchrun=f'torchrun --nnodes="$(grep -c . hosts)" --nproc-per-node={gpus} --rdzv-backend=c10d --rdzv-id={group} '
        f'--rdzv-endpoint="$(head -n 1 hosts):{_RENDEZVOUS_PORT}" train.py',
    )


def machine_group(
    pool: GcpComponent,
    spec: GpuPoolSpec,
    zone: str,
    template: compute.InstanceTemplate,
    *,
    workload: pulumi.Input[str] | None,
    bulk: bool,
    closed: bool,
) -> compute.InstanceGroupManager:
    """`min_nodes` machines at first; whoever launches work asks for more, and `up` leaves that number alone.

    Flex start's come all or none, by request, and so do those bound to a reservation (BULK), which are asked for when there are none yet;
    of other machines Google makes as many as it has: cloud.google.com/compute/docs/instance-groups/about-bulk-mode. Nothing waits for
    machines: scarce GPUs may come in days. A new template is for machines that come, not for those that work.
    `workload`: the policy that brings the whole group together.
    """
    flex = isinstance(spec.capacity, FlexStart)
    return compute.InstanceGroupManager(
        pool.child_name("machines"),
        zone=zone,
        base_instance_name=pool.child_name("machines"),
        versions=[{"instance_template": template.self_link_unique}],
        target_size=0 if closed or flex else spec.min_nodes,
        **({"target_size_policies": [{"mode": "BULK"}]} if bulk else {}),
        update_policy={
            "type": "OPPORTUNISTIC",
            "minimal_action": "REPLACE",
            "max_surge_fixed": 0,
            "max_unavailable_fixed": 1,
        },
        instance_lifecycle_policy={"default_action_on_failure": "DO_NOTHING" if flex else "REPAIR"},
        **({"resource_policies": {"workload_policy": workload}} if workload is not None else {}),
        wait_for_instances=False,
        # Google changes the mode of no group that is there
        opts=pool.child_options(ignore_changes=[] if closed else ["targetSize"], replace_on_changes=["targetSizePolicies"]),
    )


def ask_for_flex(pool: GcpComponent, spec: GpuPoolSpec, zone: str, group: compute.InstanceGroupManager) -> None:
    """min_nodes of a flex-start pool: one request for all of them, which Google keeps until it can fill it, for the stated time."""
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


def close_group(pool: GcpComponent, end: End, zone: str, group: compute.InstanceGroupManager, where: ProjectLookup) -> None:
    """At the end all machines go: a schedule asks for size zero."""
    uri = pulumi.Output.all(where.id, group.name).apply(
        lambda words: (
            f"https://compute.googleapis.com/compute/v1/projects/{words[0]}/zones/{zone}/instanceGroupManagers/{words[1]}/resize?size=0"
        )
    )
    close_by(pool, end, region_of(zone), where, "resize-pools", "POST", uri)


def close_by(pool: GcpComponent, end: End, region: str, where: ProjectLookup, role: str, method: str, uri: pulumi.Output[str]) -> None:
    """One call at the end, by an account that can do nothing else. It comes again on that day of later years: the pool is closed then."""
    identity = Identity(
        pool.child_name("end"),
        purpose="takes the pool to zero nodes at its end",
        project_roles=(role,),
        project=where,
        opts=pool.child_options(),
    )
    cloudscheduler.Job(
        pool.child_name("end"),
        region=region,
        description=f"to zero nodes: {end.because}"[:500],
        schedule=f"{end.at.minute} {end.at.hour} {end.at.day} {end.at.month} *",
        time_zone="Etc/UTC",
        http_target={
            "http_method": method,
            "uri": uri,
            **({"body": base64.b64encode(b"{}").decode(), "headers": {"Content-Type": "application/json"}} if method == "POST" else {}),
            "oauth_token": {"service_account_email": identity.email, "scope": _SCOPE},
        },
        retry_config={"retry_count": 5},
        opts=pool.child_options(),
    )
