"""The default security group of a yard's VPC. It contains the containers of multi-node Batch jobs on machines with EFA."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from ...plain_data import PlainDict
from .account import AwsComponent
from .security_group import HTTPS, allow_all_between, allow_in, allow_out

__all__ = ["DefaultGroup"]


class DefaultGroup:
    """The default security group of a yard's own VPC. It has no rules until a pool needs them.

    Batch gives each container of a multi-node job its own network interface, in the security groups of the compute environment. Without
    security groups, Batch uses the VPC's default group (docs.aws.amazon.com/batch/latest/userguide/mnp-ce.html, read on 2026-12-01). A
    compute environment cannot have security groups if its launch template has network interfaces (aws-cdk issue 21577).
    """

    def __init__(self, network: AwsComponent, group_id: pulumi.Output[str]) -> None:
        self._network, self._id = network, group_id
        self._made: list[pulumi.Resource] = []
        self.egress: list[tuple[str, str, PlainDict]] = []
        """Suffix, description and fields of each egress rule of the nodes; containers get the same rules."""
        self.endpoints: pulumi.Output[str] | None = None
        """Security group of the interface endpoints, if there are any."""

    def open(self) -> Sequence[pulumi.Resource]:
        """Return the group's rules, the same as the nodes' rules. The first call makes them."""
        if not self._made:
            self._made = [*allow_all_between(self._network, "containers", self._id, "container of the same job")]
            for suffix, description, fields in self.egress:
                self._made.append(allow_out(self._network, f"containers-out-{suffix}", self._id, description, **fields))
            if self.endpoints is not None:
                name, what = "endpoints-in-containers", "HTTPS from containers of multi-node jobs"
                self._made.append(allow_in(self._network, name, self.endpoints, what, source=self._id, **HTTPS))
        return self._made
