"""A pool of equal GPU machines in one zone: held by AWS Batch, by SageMaker, or by an Auto Scaling group for other launchers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_aws as aws

from .. import catalogue
from ..base import Tags, checked
from ..expiry import End, end_of, is_past, warning
from ..naming import name_problems
from ..spec.fields import as_mapping
from ..spec.pool import GpuPoolSpec
from .account import Account, AwsComponent, account
from .batch_environment import close_environment, compute_environment
from .identity import Identity
from .key import EncryptionKey
from .launch_template import boot_of, image_of, launch_template, placement_group, user_data
from .log_group import make_log_group
from .machine_group import close_group, launcher_lines, machine_group, machine_statements
from .network import Network
from .permissions import node
from .pool_rules import key_problems, pool_problems
from .trust import Trust


class GpuPool(AwsComponent):
    """N equal machines. `expires` in its tags, or the end of its capacity block, takes it to zero nodes by itself.

    What is None below is not there for the pool's service.
    """

    spec: GpuPoolSpec
    machine: catalogue.Machine
    network: Network
    id: pulumi.Output[str]
    """ARN of the compute environment (batch), name of the Auto Scaling group (vms), the pool's own name (sagemaker)."""
    nodes: int
    """At most."""
    subnet_ids: list[pulumi.Output[str]]
    """Where its nodes are: one subnet; without a zone (sagemaker) all of the network's."""
    security_group_id: pulumi.Output[str]
    node_role_name: pulumi.Output[str] | None
    compute_environment_arn: pulumi.Output[str] | None
    autoscaling_group_name: pulumi.Output[str] | None
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
        key: EncryptionKey | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the pool in `network`. `key`: what the log group of a `vms` pool is under, made with `for_logs` (default: its own)."""
        expires = {**getattr(opts.parent if opts else None, "tags", {}), **(tags or {})}.get("expires")
        also = [
            *name_problems(name),
            *pool_problems(as_mapping(spec), network.logical_name, list(network.subnet_ids), network.egress, expires),
            *key_problems(key),
        ]
        self.spec = checked(GpuPoolSpec, spec, f"GpuPool {name}", self.cloud, also)
        super().__init__("GpuPool", name, self.spec.model_dump(exclude_unset=True), tags, opts)
        self.machine, self.network, self.nodes = self.spec.row(self.cloud), network, self.spec.max_nodes
        zone = self.spec.zone
        self.subnet_ids = [network.subnet_ids[zone]] if zone else list(network.subnet_ids.values())
        self.security_group_id = network.security_group_id
        self.node_role_name = self.compute_environment_arn = self.autoscaling_group_name = None
        self.scale_command = self.hostfile_command = self.torchrun = None
        end, now = end_of(self.spec, expires), datetime.datetime.now(datetime.UTC)
        self._closed = is_past(end, now)
        if told := warning(end, now):
            pulumi.log.warn(f"pool {name}: {told}", self)
        if self.spec.service == "batch":
            self._hold_in_batch(end)
        elif self.spec.service == "vms":
            self._hold_in_a_group(end, key)
        else:
            self.id = pulumi.Output.from_input(name)  # SageMaker holds the machines: nothing is made, nothing is paid
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

    def _hold_in_batch(self, end: End | None) -> None:
        where = account(self)
        role = self._node_role(where, where.place.apply(node))
        image, device = image_of(self, self.spec)
        template = self._template(device, user_data(boot_of(self.machine, self.spec.service)), {})
        environment = compute_environment(
            self,
            self.spec,
            self.machine,
            template=template,
            image=image,
            subnet_id=self.subnet_ids[0],
            security_group_id=self.security_group_id,
            nodes=role,
            placement=placement_group(self, self.spec, self.machine),
            closed=self._closed,
        )
        self.compute_environment_arn = self.id = environment.arn
        if end is not None and not self._closed:
            close_environment(self, end, environment.arn, where)

    def _hold_in_a_group(self, end: End | None, key: EncryptionKey | None) -> None:
        where = account(self)
        logs = make_log_group(self, key, where)
        statements = pulumi.Output.all(where.place, logs.name).apply(lambda known: machine_statements(known[0], known[1]))
        role = self._node_role(where, statements)
        placement = placement_group(self, self.spec, self.machine)
        image, device = image_of(self, self.spec)
        more = {  # of a Batch pool the environment says all this
            "image_id": image,
            "instance_type": self.machine.name,
            "iam_instance_profile": {"arn": role.instance_profile_arn},
            **({"placement": {"group_name": placement.name}} if placement else {}),
        }
        data = logs.name.apply(lambda group: user_data(boot_of(self.machine, self.spec.service, group)))
        template = self._template(device, data, more)
        group = machine_group(self, self.spec, self.machine, template=template, subnet_id=self.subnet_ids[0], closed=self._closed)
        self.autoscaling_group_name = self.id = group.name
        lines = pulumi.Output.all(group.name, where.region).apply(
            lambda known: launcher_lines(known[0], known[1], self.nodes, self.machine.gpus)._asdict()
        )
        self.scale_command, self.hostfile_command, self.torchrun = lines["scale"], lines["hostfile"], lines["torchrun"]
        if end is not None and not self._closed:
            close_group(self, end, group)

    def _template(self, root_device: pulumi.Input[str], data: pulumi.Input[str], more: Mapping[str, Any]) -> aws.ec2.LaunchTemplate:
        group = self.security_group_id
        return launch_template(self, self.spec, self.machine, root_device=root_device, security_group_id=group, user_data=data, more=more)

    def _node_role(self, where: Account, statements: pulumi.Output[Any]) -> Identity:
        trust, options = Trust(service="ec2.amazonaws.com"), self.child_options()
        role = Identity(self.child_name("node"), trust=trust, statements=statements, instance_profile=True, where=where, opts=options)
        self.node_role_name = role.role_name
        return role
