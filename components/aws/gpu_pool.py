"""A pool of equal GPU machines in one zone: run by AWS Batch, by SageMaker, or by an Auto Scaling group for other launchers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pulumi

from ...plain_data import PlainMapping
from ..base import Tags, all_tags
from ..expiry import End
from ..pool_base import PoolBase
from ..spec.fields import as_mapping
from ..spec.pool import GpuPoolSpec
from .account import Account, AwsComponent, look_up_account
from .batch_environment import close_environment, compute_environment
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


class GpuPool(PoolBase, AwsComponent):
    """Equal GPU machines. On the date in the tag `expires`, or when its capacity block ends, the pool goes to zero nodes.

    An attribute that the pool's service does not have is None.
    """

    network: Network
    id: pulumi.Output[str]
    """ARN of the compute environment (batch), name of the Auto Scaling group (vms), the pool's own name (sagemaker)."""
    subnet_ids: list[pulumi.Output[str]]
    """Subnets of the nodes: the subnet of the pool's zone. A sagemaker pool without a zone has all subnets of the network."""
    security_group_id: pulumi.Output[str]
    node_role_name: pulumi.Output[str] | None
    compute_environment_arn: pulumi.Output[str] | None
    autoscaling_group_name: pulumi.Output[str] | None

    def __init__(
        self,
        name: str,
        spec: GpuPoolSpec | PlainMapping,
        *,
        network: Network,
        key: EncryptionKey | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the pool in `network`. `key`: a key with `for_logs` for the log group of a `vms` pool (default: a new key)."""
        zones, expires = list(network.subnet_ids), all_tags(tags, opts).get("expires")
        found = pool_problems(as_mapping(spec), network.logical_name, zones, network.egress, expires)
        self._declare(name, spec, [*found, *key_problems(key)], tags, opts)
        self._place(network, list(network.subnet_ids.values()))
        self.security_group_id = network.security_group_id
        self.node_role_name = self.compute_environment_arn = self.autoscaling_group_name = None
        schedule = None if self.closed else self.end
        if self.spec.service == "batch":
            self._make_environment(schedule)
        elif self.spec.service == "vms":
            self._make_group(schedule, key)
        self._register()  # a sagemaker pool has no resources: SageMaker starts machines for each job

    def _make_environment(self, schedule: End | None) -> None:
        account = look_up_account(self)
        role = self._node_role(account, account.arn_scope.apply(node))
        environment = compute_environment(self, prepare_batch_machines(self), role)
        self.compute_environment_arn = self.id = environment.arn
        if schedule is not None:
            close_environment(self, schedule, environment.arn, account)

    def _make_group(self, schedule: End | None, key: EncryptionKey | None) -> None:
        account = look_up_account(self)
        logs = make_log_group(self, key, account)
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
