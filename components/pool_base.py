"""Base classes of pools on every cloud: constructor, validation, end, launcher commands, outputs."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import pulumi

from ..plain_data import PlainMapping
from .base import Component, Problems, Tags, all_tags, validate_spec
from .catalogue import Machine
from .expiry import End, end_of, is_past, warning
from .naming import name_problems
from .spec.fields import as_mapping
from .spec.pool import GpuPoolSpec

__all__ = ["KeyedPoolBase", "LauncherCommands", "MachinePoolBase", "PoolBase", "torchrun_command"]

_NetworkT_co = TypeVar("_NetworkT_co", bound=Component, covariant=True)
_KeyT = TypeVar("_KeyT", bound=Component)
_RENDEZVOUS_PORT = 29400  # torchrun's default


class LauncherCommands(NamedTuple):
    """Shell commands for machines that take no jobs from `gpuyard submit`."""

    scale: str
    """Command that starts all machines."""
    hostfile: str
    """Command that writes the addresses of the running machines to the file `hosts`, one per line."""
    torchrun: str
    """Command to run on every machine, in a directory that contains `hosts`. It starts the workers."""
    reach: str
    """Command that opens a shell on a running machine. On Azure it runs nvidia-smi on the machine."""


def torchrun_command(pool_id: str, gpus: int) -> str:
    """Return the torchrun command, the same on every machine. The first address in `hosts` is the rendezvous endpoint."""
    return (
        f'torchrun --nnodes="$(grep -c . hosts)" --nproc-per-node={gpus} --rdzv-backend=c10d --rdzv-id={pool_id} '
        f'--rdzv-endpoint="$(head -n 1 hosts):{_RENDEZVOUS_PORT}" train.py'
    )


class PoolBase(Component, Generic[_NetworkT_co]):
    """Base class of every pool: checks the spec and registers the component. A cloud's GpuPool makes the resources in `_make`."""

    spec: GpuPoolSpec
    network: _NetworkT_co
    id: pulumi.Output[str]
    """Identifier of the pool's main resource, or the pool's name if there is no such resource."""

    def __init__(
        self,
        name: str,
        spec: GpuPoolSpec | PlainMapping,
        *,
        network: _NetworkT_co,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the pool in `network`."""
        self.network = network
        found = self._all_problems(name, as_mapping(spec), all_tags(tags, opts).get("expires"))
        self.spec = validate_spec(GpuPoolSpec, spec, f"GpuPool {name}", self.cloud, found)
        super().__init__("GpuPool", name, {**self.spec.model_dump(exclude_unset=True), **self._props()}, tags, opts)
        self.id = pulumi.Output.from_input(name)
        self._make()
        self.register_outputs(self._outputs())

    def _all_problems(self, name: str, given: PlainMapping, expires: str | None) -> Problems:
        """Return the problems that GpuPoolSpec cannot find. `given`: the spec's values, not validated. `expires`: the tag's value."""
        return ()

    def _props(self) -> PlainMapping:
        """Return the component's inputs for Pulumi's state, without the spec."""
        return {}

    def _make(self) -> None:
        """Make the pool's resources and set its attributes."""
        raise NotImplementedError


class MachinePoolBase(PoolBase[_NetworkT_co]):
    """Base class of the clouds' pools. A pool goes to zero nodes when it expires or its capacity block ends."""

    machine: Machine
    subnet_ids: list[pulumi.Output[str]]
    """Subnets of the nodes."""
    nodes: int
    """Maximum number of nodes."""
    end: End | None
    """Time at which the pool goes to zero nodes, with its reason. None: never."""
    closed: bool
    """Whether the pool's end has passed. The yard then declares the pool with zero nodes and without a schedule."""
    scale_command: pulumi.Output[str] | None
    """`vms`: shell command that starts all machines."""
    hostfile_command: pulumi.Output[str] | None
    """`vms`: shell command that writes the addresses of the running machines to `hosts`."""
    torchrun: pulumi.Output[str] | None
    """`vms`: command that starts the workers; run it on every machine, in a directory that contains `hosts`."""

    reach_command: pulumi.Output[str] | None
    """`vms`: shell command that opens a shell on a machine. On Azure it runs nvidia-smi on the machine."""

    def _all_problems(self, name: str, given: PlainMapping, expires: str | None) -> Problems:
        return [*name_problems(name), *self._problems(given, expires)]

    def _problems(self, given: PlainMapping, expires: str | None) -> Problems:
        """Return the problems under the cloud's own rules."""
        raise NotImplementedError

    def _make(self) -> None:
        """Set the attributes of a pool, warn if its end is near or past, and make the machines."""
        self.machine, self.nodes = self.spec.row(self.cloud), self.spec.max_nodes
        self.scale_command = self.hostfile_command = self.torchrun = self.reach_command = None
        self.end, now = end_of(self.spec, self.tags.get("expires")), datetime.datetime.now(datetime.UTC)
        self.closed = is_past(self.end, now)
        if text := warning(self.end, now):
            pulumi.log.warn(f"pool {self.logical_name}: {text}", self)
        self._make_machines()

    def _make_machines(self) -> None:
        """Make the pool's machines. Does nothing if the service starts machines for each job."""
        raise NotImplementedError

    @property
    def stop_message(self) -> str:
        """Text of the alarm for a pool that stopped because it replaced too many machines."""
        return (
            f"pool {self.logical_name} has stopped: more than {self.spec.replacement_limit} of its machines shut down with broken hardware "
            "within an hour, so it starts no new machine; running jobs continue; see the machines' console output for the fault, then run "
            "pulumi up --refresh"
        )

    def _set_commands(self, group: pulumi.Output[str], place: pulumi.Output[str], commands: Callable[[str, str], LauncherCommands]) -> None:
        """Set the launcher commands. Arguments of `commands`: the name of the machine group, and its region, project or resource group."""
        known = pulumi.Output.all(group, place).apply(lambda names: commands(names[0], names[1])._asdict())
        self.scale_command, self.hostfile_command = known["scale"], known["hostfile"]
        self.torchrun, self.reach_command = known["torchrun"], known["reach"]

    def _outputs(self) -> PlainMapping:
        return {
            "id": self.id,
            "machine": self.machine.name,
            "nodes": self.nodes,
            "scale": self.scale_command,
            "hostfile": self.hostfile_command,
            "torchrun": self.torchrun,
        }


class KeyedPoolBase(MachinePoolBase[_NetworkT_co], Generic[_NetworkT_co, _KeyT]):
    """Base class of a pool that takes an encryption key."""

    _key: _KeyT | None

    def __init__(
        self,
        name: str,
        spec: GpuPoolSpec | PlainMapping,
        *,
        network: _NetworkT_co,
        key: _KeyT | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the pool in `network`. The class says what `key` encrypts."""
        self._key = key
        super().__init__(name, spec, network=network, tags=tags, opts=opts)
