"""The machines of a `vms` pool: a scale set in one zone, its autoscale settings with the pool's end, and commands for other launchers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_azure_native as az
from pulumi_azure_native import _utilities

from ...plain_data import PlainDict
from ..base import this_stack
from ..expiry import End
from ..pool_base import LauncherCommands, torchrun_command
from ..spec.pool import GpuPoolSpec
from .machine import PreparedMachines
from .names import scale_set_name
from .replacement_limit import REPAIRS

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["autoscale_profiles", "keep_within", "launcher_commands", "scale_set"]

_LOOK_UP = "azure-native:compute:getVirtualMachineScaleSet"
_NO_END = "9999-12-31T00:00:00Z"


def launcher_commands(name: str, group: str, max_nodes: int, gpus: int) -> LauncherCommands:
    """Return shell commands that scale a scale set, list its machines and start torchrun on them."""
    which = f"--resource-group {group}"
    first = f"az vmss list-instances {which} --name {name} --query '[0].instanceId' -o tsv"
    return LauncherCommands(
        scale=f"az vmss scale {which} --name {name} --new-capacity {max_nodes}",
        hostfile=f"az vmss nic list {which} --vmss-name {name} --query '[].ipConfigurations[0].privateIPAddress' -o tsv | sort > hosts",
        torchrun=torchrun_command(name, gpus),
        reach=f'az vmss run-command invoke {which} --name {name} --instance-id "$({first})" '
        "--command-id RunShellScript --scripts nvidia-smi",
    )


def scale_set(pool: GpuPool, machines: PreparedMachines) -> az.compute.VirtualMachineScaleSet:
    """Make the scale set with `min_nodes` machines. A user or launcher scales it up to `max_nodes`; `pulumi up` keeps the number."""
    name = scale_set_name(this_stack(), pool.logical_name)
    return az.compute.VirtualMachineScaleSet(
        pool.child_name("machines"),
        resource_group_name=pool.group.name,
        vm_scale_set_name=name,
        sku={"name": pool.machine.name, "capacity": 0 if pool.closed else _capacity_now(pool, name)},
        zones=[pool.spec.zone],
        identity={"type": "UserAssigned", "user_assigned_identities": [pool.identity.id]},
        virtual_machine_profile=machines.profile,
        automatic_repairs_policy=REPAIRS,
        tags=pool.azure_tags(),
        opts=pool.child_options(),
        **machines.placement,
    )


def _capacity_now(pool: GpuPool, name: str) -> pulumi.Output[int]:
    """Return the present number of machines, at least `min_nodes`; `min_nodes` if there is no scale set yet.

    Azure requires the capacity in each update, and deletes machines beyond it: github.com/Azure/vm-scale-sets/issues/70.
    """
    least = pool.spec.min_nodes

    async def read(group: str) -> int:
        options = pulumi.InvokeOptions.merge(_utilities.get_invoke_opts_defaults(), pulumi.InvokeOptions(parent=pool))
        try:  # not through an Output: Pulumi fails a program for each Output that fails
            live = await pulumi.runtime.invoke_async(_LOOK_UP, {"resourceGroupName": group, "vmScaleSetName": name}, options)
        except Exception as error:  # the SDK has no class for it
            if "NotFound" not in str(error):
                raise
            return least
        return max(least, int(live["sku"].get("capacity") or 0)) if live is not None else least  # None: an offline plan

    return pulumi.Output.from_input(pool.group.name).apply(read)


def autoscale_profiles(spec: GpuPoolSpec, end: End | None, *, closed: bool) -> list[PlainDict]:
    """Return the autoscale profiles: min_nodes to max_nodes machines, and zero from the pool's end on. Times are in UTC."""
    most = 0 if closed else spec.max_nodes
    least = 0 if closed else spec.min_nodes
    profiles: list[PlainDict] = [{"name": "pool", "capacity": _capacity(least, most), "rules": []}]
    if end is not None and not closed:
        span = {"start": f"{end.at:%Y-%m-%dT%H:%M:%SZ}", "end": _NO_END, "time_zone": "UTC"}
        profiles.append({"name": "end", "capacity": _capacity(0, 0), "rules": [], "fixed_date": span})
    return profiles


def _capacity(least: int, most: int) -> dict[str, str]:
    return {"minimum": str(least), "maximum": str(most), "default": str(least)}


def keep_within(pool: GpuPool, machines: az.compute.VirtualMachineScaleSet, profiles: list[PlainDict]) -> None:
    """Make an autoscale setting without scaling rules: it only keeps the number of machines within bounds."""
    az.monitor.AutoscaleSetting(
        pool.child_name("bounds"),
        resource_group_name=pool.group.name,
        target_resource_uri=machines.id,
        enabled=True,
        profiles=profiles,
        tags=pool.azure_tags(),
        opts=pool.child_options(),
    )
