"""A pool of equal GPU machines in one zone: run by AWS Batch, by SageMaker, or by an Auto Scaling group for other launchers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pulumi

from ...plain_data import PlainMapping
from ..base import Problems
from ..expiry import End
from ..pool_base import KeyedPoolBase
from .account import Account, AwsComponent, look_up_account
from .batch_environment import close_environment, compute_environment, join_cluster
from .identity import Identity
from .key import EncryptionKey
from .launch_template import prepare_batch_machines, prepare_group_machines
from .log_group import make_log_group
from .machine_group import close_group, launcher_commands, machine_group, machine_statements
from .network import Network
from .permissions import node
from .policy import Statement
from .pool_rules import key_problems, pool_problems
from .trust import Trust

__all__ = ["GpuPool"]


class GpuPool(KeyedPoolBase[Network, EncryptionKey], AwsComponent):
    """Equal GPU machines. On the date in the tag `expires`, or when its capacity block ends, the pool goes to zero nodes.

    `key`: a key with `for_logs` for the log group of a `vms` pool (default: a new key). Attributes that do not apply to the pool's service
    are None.
    """

    id: pulumi.Output[str]
    """ARN of the compute environment (batch), name of the Auto Scaling group (vms), the pool's own name (sagemaker)."""
    subnet_ids: list[pulumi.Output[str]]
    """Subnets of the nodes: the subnet of the pool's zone. A sagemaker pool without a zone has all subnets of the network."""
    security_group_id: pulumi.Output[str]
    node_role_name: pulumi.Output[str] | None
    compute_environment_arn: pulumi.Output[str] | None
    autoscaling_group_name: pulumi.Output[str] | None

    def _problems(self, given: PlainMapping, expires: str | None) -> Problems:
        network = self.network
        found = pool_problems(given, network.logical_name, list(network.subnet_ids), network.egress, expires)
        return [*found, *key_problems(self._key)]

    def _make_machines(self) -> None:
        """Make a compute environment (batch), an Auto Scaling group (vms) or nothing (sagemaker starts machines for each job)."""
        subnets, zone = self.network.subnet_ids, self.spec.zone
        self.subnet_ids = [subnets[zone]] if zone else list(subnets.values())
        self.security_group_id = self.network.security_group_id
        self.node_role_name = self.compute_environment_arn = self.autoscaling_group_name = None
        schedule = None if self.closed else self.end
        if self.spec.service == "batch":
            self._make_environment(schedule)
        elif self.spec.service == "vms":
            self._make_group(schedule)

    def _make_environment(self, schedule: End | None) -> None:
        account = look_up_account(self)
        role = self._node_role(account, account.arn_scope.apply(node))
        environment = compute_environment(self, prepare_batch_machines(self), role)
        self.compute_environment_arn = self.id = join_cluster(self, environment)
        if schedule is not None:
            close_environment(self, schedule, environment.arn, account)

    def _make_group(self, schedule: End | None) -> None:
        account = look_up_account(self)
        logs = make_log_group(self, self._key, account)
        statements = pulumi.Output.all(account.arn_scope, logs.name).apply(lambda known: machine_statements(known[0], known[1]))
        role = self._node_role(account, statements)
        group = machine_group(self, prepare_group_machines(self, role, logs.name))
        self.autoscaling_group_name = self.id = group.name
        self._set_commands(group.name, account.region, partial(launcher_commands, max_nodes=self.nodes, gpus=self.machine.gpus))
        if schedule is not None:
            close_group(self, schedule, group)

    def _node_role(self, account: Account, statements: pulumi.Output[Sequence[Statement]]) -> Identity:
        trust, options = Trust(service="ec2.amazonaws.com"), self.child_options()
        role = Identity(self.child_name("node"), trust=trust, statements=statements, instance_profile=True, account=account, opts=options)
        self.node_role_name = role.role_name
        return role
