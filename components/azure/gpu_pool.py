"""A pool of GPU machines of one type: a scale set for other launchers, or a cluster of an Azure ML workspace."""

from __future__ import annotations

from functools import partial

import pulumi

from ...plain_data import PlainMapping
from ..base import Problems, Tags
from ..pool_base import MachinePoolBase
from ..spec.pool import GpuPoolSpec
from .account import AzureComponent, ResourceGroup, group_problems
from .fabric import Orchestration
from .identity import Identity
from .machine import prepare_machines
from .network import Network
from .pool_rules import pool_problems, ssh_key_problems
from .replacement_limit import limit_replacements, make_counter
from .scale_set import autoscale_profiles, keep_within, launcher_commands, scale_set

__all__ = ["GpuPool"]


class GpuPool(MachinePoolBase[Network], AzureComponent):
    """Up to `max_nodes` machines of one type, in the resource group of its network. At the yard's `expires` it goes to zero nodes.

    `vms`: the pool makes a scale set. `azureml`: the pool makes only an identity; the job service makes the cluster in its workspace.
    Attributes that do not apply to the pool's service are None.
    """

    id: pulumi.Output[str]
    """Resource id of the scale set (vms), the pool's own name (azureml)."""
    subnet_ids: list[pulumi.Output[str]]
    """Subnet of the nodes. Empty for `azureml`: its nodes are in the workspace's managed network."""
    security_group_id: pulumi.Output[str]
    identity: Identity
    """Managed identity of its machines and of the jobs on them."""
    scale_set_name: pulumi.Output[str] | None

    def __init__(
        self,
        name: str,
        spec: GpuPoolSpec | PlainMapping,
        *,
        network: Network,
        orchestration: Orchestration = "uniform",
        ssh_public_key: str | None = None,
        encryption_at_host: bool = True,
        resource_group: pulumi.Input[str] | ResourceGroup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the pool in `network`.

        Only for `vms`: `orchestration` (default uniform; flexible has no InfiniBand), `ssh_public_key` (default: nobody logs in),
        `encryption_at_host` (default: on; the subscription needs the feature Microsoft.Compute/EncryptionAtHost). `resource_group`: the
        name of an existing group (default: the network's).
        """
        self._orchestration, self._ssh_public_key, self._encryption_at_host = orchestration, ssh_public_key, encryption_at_host
        self._given_group = resource_group
        super().__init__(name, spec, network=network, tags=tags, opts=opts)

    def _problems(self, given: PlainMapping, expires: str | None) -> Problems:
        found = pool_problems(given, self.network.logical_name, list(self.network.subnet_ids), expires, self._orchestration)
        return [*found, *ssh_key_problems(self._ssh_public_key), *group_problems(self._given_group)]

    def _props(self) -> PlainMapping:
        return {"orchestration": self._orchestration}

    def _make_machines(self) -> None:
        """Make the identity of the pool's machines and jobs, and the scale set (vms)."""
        network = self.network
        self.use_group(network.group if self._given_group is None else self._given_group)
        self.subnet_ids = [network.subnet_ids[self.spec.zone]] if self.spec.zone else []
        self.security_group_id = network.security_group_id
        self.identity = Identity(self.child_name("node"), resource_group=self.group, opts=self.child_options())
        self.scale_set_name = None
        if self.spec.service == "vms":
            self._make_scale_set()

    def _make_scale_set(self) -> None:
        counter, host = make_counter(self), self._encryption_at_host
        machine = prepare_machines(self, self._orchestration, self._ssh_public_key, counter.script, encryption_at_host=host)
        machines = scale_set(self, machine)
        limit_replacements(self, counter, machines)
        keep_within(self, machines, autoscale_profiles(self.spec, self.end, closed=self.closed))
        self.id, self.scale_set_name = machines.id, machines.name
        commands = partial(launcher_commands, max_nodes=self.nodes, gpus=self.machine.gpus)
        self._set_commands(machines.name, self.group.name, commands)

    @property
    def stop_message(self) -> str:
        """Text of the alert for a pool that replaces no more machines."""
        return (
            f"pool {self.logical_name} has stopped: more than {self.spec.replacement_limit} of its machines had broken hardware within an "
            "hour, or Azure's own limit was reached, so Azure replaces no broken machine; running jobs continue; find the fault in "
            "/run/gpuyard/unhealthy of a broken machine, then run az vmss set-orchestration-service-state --service-name AutomaticRepairs "
            "--action Resume"
        )
