"""A pool of equal GPU machines: a scale set for other launchers, or a cluster of an Azure ML workspace."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pulumi

from .. import catalogue
from ..base import Tags, checked
from ..expiry import End, end_of, is_past, warning
from ..naming import name_problems
from ..spec.fields import as_mapping
from ..spec.pool import GpuPoolSpec
from .account import AzureComponent, ResourceGroup, group_problems
from .fabric import Orchestration
from .identity import Identity
from .network import Network
from .pool_rules import pool_problems, ssh_key_problems
from .scale_set import bounds, hold_within, launcher_lines, scale_set


class GpuPool(AzureComponent):
    """Up to `max_nodes` machines of one type, in its network's resource group. `vms`: a scale set, held here. `azureml`: a cluster that
    the job service makes, in its workspace; the pool is its identity.

    At its end, the yard's `expires`, it goes to zero nodes by itself.

    What is None below is not there for the pool's service.
    """

    spec: GpuPoolSpec
    machine: catalogue.Machine
    network: Network
    id: pulumi.Output[str]
    """Resource id of the scale set (vms), the pool's own name (azureml)."""
    nodes: int
    """At most."""
    subnet_ids: list[pulumi.Output[str]]
    """Where its nodes are; empty for `azureml`, whose nodes are in the workspace's own network."""
    security_group_id: pulumi.Output[str]
    identity: Identity
    """Of its machines: what runs there comes as it."""
    end: End | None
    closed: bool
    """Whether its end is past: then it is declared without nodes."""
    scale_set_name: pulumi.Output[str] | None
    scale_command: pulumi.Output[str] | None
    """vms: a shell line that starts all machines."""
    hostfile_command: pulumi.Output[str] | None
    """vms: a shell line that writes the addresses of the running machines to `hosts`."""
    torchrun: pulumi.Output[str] | None
    """vms: the line to run on every machine, with `hosts` beside it."""

    def __init__(
        self,
        name: str,
        spec: GpuPoolSpec | Mapping[str, Any],
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

        Of `vms` alone: `orchestration` (default uniform, the one with InfiniBand), `ssh_public_key` (default: nobody logs in),
        `encryption_at_host` (default: on; the subscription needs the feature Microsoft.Compute/EncryptionAtHost).
        `resource_group`: the name of an existing group (default: the network's).
        """
        expires = {**getattr(opts.parent if opts else None, "tags", {}), **(tags or {})}.get("expires")
        also = [
            *name_problems(name),
            *pool_problems(as_mapping(spec), network.logical_name, list(network.subnet_ids), expires, orchestration),
            *ssh_key_problems(ssh_public_key),
            *group_problems(resource_group),
        ]
        self.spec = checked(GpuPoolSpec, spec, f"GpuPool {name}", self.cloud, also)
        props = {**self.spec.model_dump(exclude_unset=True), "orchestration": orchestration}
        super().__init__("GpuPool", name, props, tags, opts)
        self.use_group(resource_group if resource_group is not None else network.group)
        self.machine, self.network, self.nodes = self.spec.row(self.cloud), network, self.spec.max_nodes
        zone = self.spec.zone
        self.subnet_ids = [network.subnet_ids[zone]] if zone else []
        self.security_group_id = network.security_group_id
        self.identity = Identity(self.child_name("node"), resource_group=self.group, opts=self.child_options())
        self.scale_set_name = self.scale_command = self.hostfile_command = self.torchrun = None
        self.end, now = end_of(self.spec, expires), datetime.datetime.now(datetime.UTC)
        self.closed = is_past(self.end, now)
        if told := warning(self.end, now):
            pulumi.log.warn(f"pool {name}: {told}", self)
        if self.spec.service == "vms":
            self._hold(orchestration, ssh_public_key, encryption_at_host)
        else:
            self.id = pulumi.Output.from_input(name)
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

    def _hold(self, orchestration: Orchestration, ssh_public_key: str | None, encryption_at_host: bool) -> None:
        machines = scale_set(
            self,
            self.spec,
            self.machine,
            subnet_id=self.subnet_ids[0],
            security_group_id=self.security_group_id,
            card_rules_id=self.network.card_rules_id,
            identity_id=self.identity.id,
            orchestration=orchestration,
            ssh_public_key=ssh_public_key,
            encryption_at_host=encryption_at_host,
            closed=self.closed,
        )
        hold_within(self, machines, bounds(self.spec, self.end, closed=self.closed))
        self.id, self.scale_set_name = machines.id, machines.name
        lines = pulumi.Output.all(self.group.name, machines.name).apply(
            lambda known: launcher_lines(known[0], known[1], self.nodes, self.machine.gpus)._asdict()
        )
        self.scale_command, self.hostfile_command, self.torchrun = lines["scale"], lines["hostfile"], lines["torchrun"]
