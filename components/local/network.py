"""The network of a local yard: loopback addresses for its nodes. The component has no child resources."""

from __future__ import annotations

import ipaddress
import socket

import pulumi

from ...plain_data import PlainMapping
from ..base import Component, Tags, validate_spec
from ..spec import NetworkSpec

__all__ = ["Network", "plan_addresses"]

_FIRST = 10  # as on the clouds, the first addresses of a network are reserved
_SHARED = "127.0.0.1"
_DEFAULT = "127.77.0.0/24"


class Network(Component):
    """Loopback addresses: one for each node of a pool, or 127.0.0.1 for all nodes if this system cannot bind others.

    Node 0 of every pool has the same address, but another port.
    """

    cloud = "local"
    cidr: str
    distinct: bool
    """Whether each node has a different address (macOS binds only 127.0.0.1)."""

    def __init__(
        self,
        name: str,
        spec: NetworkSpec | PlainMapping | None = None,
        *,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Plan the network; `spec` defaults to 127.77.0.0/24."""
        spec = validate_spec(NetworkSpec, spec, f"Network {name}", self.cloud)
        cidr = spec.cidr or _DEFAULT
        super().__init__("Network", name, {"cidr": cidr}, tags, opts)
        self.cidr = cidr
        self.distinct = _can_bind(plan_addresses(self.cidr, 1)[0])
        self.id = pulumi.Output.from_input(name)
        self.register_outputs({"id": self.id, "cidr": self.cidr, "distinct": self.distinct})

    def addresses(self, count: int) -> list[str]:
        """Return the addresses of a pool's nodes."""
        return plan_addresses(self.cidr, count) if self.distinct else [_SHARED] * count


def plan_addresses(cidr: str, count: int) -> list[str]:
    """Return the first `count` addresses for nodes.

    >>> plan_addresses("127.77.0.0/24", 2)
    ['127.77.0.10', '127.77.0.11']
    """
    network = ipaddress.IPv4Network(cidr)
    if not 1 <= count <= network.num_addresses - _FIRST - 1:
        raise ValueError(f"{cidr}: wrong number of nodes, got {count}, allowed: 1 to {network.num_addresses - _FIRST - 1}")
    return [str(network[_FIRST + index]) for index in range(count)]


def _can_bind(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
