"""The part of a pool that is the same on every cloud: validation, end, launcher commands, outputs."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pulumi

from ..plain_data import PlainMapping
from .base import Component, Problems, Tags, validate_spec
from .catalogue import Machine
from .expiry import End, end_of, is_past, warning
from .naming import name_problems
from .network_base import NetworkBase
from .spec.pool import GpuPoolSpec

__all__ = ["LauncherCommands", "PoolBase", "torchrun_command"]

_RENDEZVOUS_PORT = 29400  # torchrun's default


class LauncherCommands(NamedTuple):
    """Shell commands for machines without a job service."""

    scale: str
    """Start all machines."""
    hostfile: str
    """Write the addresses of the running machines to `hosts`, one per line."""
    torchrun: str
    """Run on every machine, with `hosts` beside it."""


def torchrun_command(pool_id: str, gpus: int) -> str:
    """Return the torchrun command, the same on every machine. The first of `hosts` is the rendezvous endpoint."""
    return (
        f'torchrun --nnodes="$(grep -c . hosts)" --nproc-per-node={gpus} --rdzv-backend=c10d --rdzv-id={pool_id} '
        f'--rdzv-endpoint="$(head -n 1 hosts):{_RENDEZVOUS_PORT}" train.py'
    )


class PoolBase(Component):
    """Equal GPU machines of one type; a cloud's GpuPool makes them. At its end the pool goes to zero nodes."""

    spec: GpuPoolSpec
    machine: Machine
    id: pulumi.Output[str]
    """The pool's own name, unless its cloud makes one resource for the pool."""
    network: NetworkBase
    subnet_ids: list[pulumi.Output[str]]
    """Subnets of the nodes."""
    nodes: int
    """Maximum number of nodes."""
    end: End | None
    """Time at which the pool goes to zero nodes, with its reason. None: never."""
    closed: bool
    """Whether the end is past: the pool is then declared with zero nodes and without a schedule."""
    scale_command: pulumi.Output[str] | None
    """`vms`: shell command that starts all machines."""
    hostfile_command: pulumi.Output[str] | None
    """`vms`: shell command that writes the addresses of the running machines to `hosts`."""
    torchrun: pulumi.Output[str] | None
    """`vms`: command to run on every machine, with `hosts` beside it."""

    def _declare(
        self,
        name: str,
        spec: GpuPoolSpec | PlainMapping,
        problems: Problems,
        tags: Tags | None,
        opts: pulumi.ResourceOptions | None,
        **props: object,
    ) -> None:
        """Check the spec, register the component, and warn if the pool's end is near or past."""
        self.spec = validate_spec(GpuPoolSpec, spec, f"GpuPool {name}", self.cloud, [*name_problems(name), *problems])
        super().__init__("GpuPool", name, {**self.spec.model_dump(exclude_unset=True), **props}, tags, opts)
        self.machine, self.nodes = self.spec.row(self.cloud), self.spec.max_nodes
        self.id = pulumi.Output.from_input(name)
        self.scale_command = self.hostfile_command = self.torchrun = None
        self.end, now = end_of(self.spec, self.tags.get("expires")), datetime.datetime.now(datetime.UTC)
        self.closed = is_past(self.end, now)
        if text := warning(self.end, now):
            pulumi.log.warn(f"pool {name}: {text}", self)

    def _place(self, network: NetworkBase, without_zone: Sequence[pulumi.Output[str]]) -> None:
        """Set the network and the subnets: the one of the pool's zone, or `without_zone` if the spec names no zone."""
        self.network, zone = network, self.spec.zone
        self.subnet_ids = [network.subnet_ids[zone]] if zone else list(without_zone)

    def _set_commands(self, group: pulumi.Output[str], place: pulumi.Output[str], commands: Callable[[str, str], LauncherCommands]) -> None:
        """Set the launcher commands. `commands` takes the name of the machine group and of its region, project or resource group."""
        known = pulumi.Output.all(group, place).apply(lambda names: commands(names[0], names[1])._asdict())
        self.scale_command, self.hostfile_command, self.torchrun = known["scale"], known["hostfile"], known["torchrun"]

    def _register(self) -> None:
        self.register_outputs(
            {
                "id": self.id,
                "machine": self.machine.name,
                "nodes": self.nodes,
                "scale": self.scale_command,
                "hostfile": self.hostfile_command,
                "torchrun": self.torchrun,
            }
        )
