"""The network of an AWS yard: a VPC without public addresses; or the nodes' security group in an existing one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from ..base import Tags
from ..spec import NetworkSpec
from .account import AwsComponent
from .key import EncryptionKey


class Network(AwsComponent):
    """Private subnets, one for each zone, and the security group of the nodes."""

    id: pulumi.Output[str]
    """Of the VPC."""
    subnet_ids: dict[str, pulumi.Output[str]]
    """Private subnet by zone."""
    security_group_id: pulumi.Output[str]
    """Of the nodes: everything to and from each other, 443 out."""
    zones: list[str]
    egress: str | None
    """The way out: nat, endpoints or none; None: an adopted network, which has its own."""

    def __init__(
        self,
        name: str,
        spec: NetworkSpec | Mapping[str, Any] | None = None,
        *,
        key: EncryptionKey | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the network; `key` (default: one of its own) is what the flow logs are under."""
        raise NotImplementedError

    @classmethod
    def adopt(
        cls,
        name: str,
        *,
        vpc_id: pulumi.Input[str],
        subnet_ids: Mapping[str, pulumi.Input[str]],
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> Network:
        """Use an existing network: makes the nodes' security group in it and changes nothing else."""
        raise NotImplementedError
