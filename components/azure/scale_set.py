"""The machines of a `vms` pool: a scale set in one zone, what keeps it within its bounds and takes it to zero, lines for launchers."""

from __future__ import annotations

from typing import Any, NamedTuple

import pulumi
import pulumi_azure_native as az

from .. import catalogue
from ..expiry import End
from ..spec.pool import GpuPoolSpec
from .account import AzureComponent
from .fabric import Orchestration, arrangement
from .machine import boot_of, bought, custom_data, image_of, login, os_disk, security

_RENDEZVOUS_PORT = 29400  # torchrun's own default
_NOTICE = "PT5M"  # before a machine is taken away, in its metadata service
_FOR_EVER = "9999-12-31T00:00:00Z"
_FLEXIBLE_API = "2020-11-01"  # Azure wants it said where a flexible scale set makes cards


class Lines(NamedTuple):
    """What people type on machines that no job service knows."""

    scale: str
    hostfile: str
    torchrun: str


def launcher_lines(group: str, name: str, max_nodes: int, gpus: int) -> Lines:
    """Commands for a shell: start all machines, write the running ones to `hosts` (one address a line), run a script on all of them.

    The torchrun line is the same on every machine; the first of `hosts` is the meeting point.
    """
    which = f"--resource-group {group}"
    return Lines(
        scale=f"az vmss scale {which} --name {name} --new-capacity {max_nodes}",
        hostfile=f"az vmss nic list {which} --vmss-name {name} --query '[].ipConfigurations[0].privateIPAddress' -o tsv | sort > hosts",
        torchrun=f'torchrun --nnodes="$(grep -c . hosts)" --nproc-per-node={gpus} --rdzv-backend=c10d --rdzv-id={name} '
        f'--rdzv-endpoint="$(head -n 1 hosts):{_RENDEZVOUS_PORT}" train.py',
    )


def scale_set(
    pool: AzureComponent,
    spec: GpuPoolSpec,
    row: catalogue.Machine,
    *,
    subnet_id: pulumi.Input[str],
    security_group_id: pulumi.Input[str],
    card_rules_id: pulumi.Input[str] | None,
    identity_id: pulumi.Input[str],
    orchestration: Orchestration,
    ssh_public_key: str | None,
    encryption_at_host: bool,
    closed: bool,
) -> az.compute.VirtualMachineScaleSet:
    """`min_nodes` machines; whoever launches work asks for more, up to `max_nodes`. Azure wants the number said whenever the scale set
    changes, so a change of the pool takes it back to `min_nodes`: `pulumi up` with nothing to change leaves it alone.
    """
    prefix = pool.logical_name[:30]
    return az.compute.VirtualMachineScaleSet(
        pool.child_name("machines"),
        resource_group_name=pool.group.name,
        sku={"name": row.name, "capacity": 0 if closed else spec.min_nodes},
        zones=[spec.zone],
        identity={"type": "UserAssigned", "user_assigned_identities": [identity_id]},
        virtual_machine_profile={
            **bought(spec),
            "security_profile": security(row, encryption_at_host=encryption_at_host),
            "storage_profile": {"image_reference": image_of(spec, row), "os_disk": os_disk(spec, row)},
            "os_profile": login(ssh_public_key, prefix, custom_data(boot_of(row))),
            "network_profile": _network(subnet_id, security_group_id, card_rules_id, orchestration),
            "scheduled_events_profile": {"terminate_notification_profile": {"enable": True, "not_before_timeout": _NOTICE}},
        },
        tags=pool.azure_tags(),
        opts=pool.child_options(),
        **arrangement(row, orchestration, reserved=spec.mode == "reservation"),
    )


def _network(
    subnet_id: pulumi.Input[str],
    security_group_id: pulumi.Input[str],
    card_rules_id: pulumi.Input[str] | None,
    orchestration: Orchestration,
) -> dict[str, Any]:
    """One Ethernet card without a public address. InfiniBand cards come with the size: they are in no template.

    `card_rules_id`: its own security group, where the subnet is somebody else's.
    """
    address = {"name": "private", "subnet": {"id": subnet_id}, "application_security_groups": [{"id": security_group_id}]}
    card: dict[str, Any] = {"name": "nodes", "primary": True, "enable_accelerated_networking": True, "ip_configurations": [address]}
    if card_rules_id is not None:
        card["network_security_group"] = {"id": card_rules_id}
    version = {"network_api_version": _FLEXIBLE_API} if orchestration == "flexible" else {}
    return {"network_interface_configurations": [card], **version}


def bounds(spec: GpuPoolSpec, end: End | None, *, closed: bool) -> list[dict[str, Any]]:
    """What keeps the number of machines: between min_nodes and max_nodes, and none from the end on. Times are Azure's own, in UTC."""
    most = 0 if closed else spec.max_nodes
    least = 0 if closed else spec.min_nodes
    profiles: list[dict[str, Any]] = [{"name": "pool", "capacity": _capacity(least, most), "rules": []}]
    if end is not None and not closed:
        span = {"start": f"{end.at:%Y-%m-%dT%H:%M:%SZ}", "end": _FOR_EVER, "time_zone": "UTC"}
        profiles.append({"name": "end", "capacity": _capacity(0, 0), "rules": [], "fixed_date": span})
    return profiles


def _capacity(least: int, most: int) -> dict[str, str]:
    return {"minimum": str(least), "maximum": str(most), "default": str(least)}


def hold_within(pool: AzureComponent, machines: az.compute.VirtualMachineScaleSet, profiles: list[dict[str, Any]]) -> None:
    """Azure's autoscale, without a rule that scales: it holds the number within bounds, with rights of its own."""
    az.monitor.AutoscaleSetting(
        pool.child_name("bounds"),
        resource_group_name=pool.group.name,
        target_resource_uri=machines.id,
        enabled=True,
        profiles=profiles,
        tags=pool.azure_tags(),
        opts=pool.child_options(),
    )
