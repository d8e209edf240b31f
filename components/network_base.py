"""The part of a network that is the same on every cloud: validation, outputs, adoption."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import pulumi

from ..plain_data import PlainMapping
from ..problems import Problem
from .base import Component, Problems, Tags, refuse, validate_spec, verify_input
from .spec import NetworkSpec

__all__ = ["NetworkBase", "adoption_problems"]

IdProblems = Callable[[str, Any], Problems]
"""Function that returns the problems of one identifier. Its key is `vpc_id`, or `subnet_ids.` and the zone."""


class NetworkBase(Component):
    """Subnets for nodes, without public addresses; a cloud's Network makes or adopts them."""

    id: pulumi.Output[str]
    """Identifier of the virtual network."""
    subnet_ids: dict[str, pulumi.Output[str]]
    """Private subnet by zone, known once its egress works."""
    zones: list[str]
    egress: str | None
    """nat, endpoints or none. None for an adopted network, whose routes decide."""

    def _declare(
        self,
        name: str,
        spec: NetworkSpec | PlainMapping | None,
        default_cidr: str,
        problems: Problems,
        tags: Tags | None,
        opts: pulumi.ResourceOptions | None,
    ) -> str:
        """Check the spec, register the component and return the network's CIDR block."""
        valid = validate_spec(NetworkSpec, spec, f"Network {name}", self.cloud, problems)
        cidr = valid.cidr or default_cidr
        super().__init__("Network", name, {"cidr": cidr, "zones": valid.zones, "egress": valid.egress}, tags, opts)
        self.zones, self.egress = list(valid.zones), valid.egress
        return cidr

    @classmethod
    def _register_existing(
        cls,
        name: str,
        vpc_id: pulumi.Input[str],
        subnet_ids: Mapping[str, pulumi.Input[str]],
        id_problems: IdProblems,
        problems: Problems,
        tags: Tags | None,
        opts: pulumi.ResourceOptions | None,
    ) -> Self:
        """Register an existing network. Strings are checked at once, outputs once they are known."""
        subject = f"Network {name}"
        refuse(subject, [*problems, *adoption_problems(vpc_id, subnet_ids, id_problems)])
        self = cls.__new__(cls)
        super(NetworkBase, self).__init__("Network", name, {"existing": {"vpc_id": vpc_id, "subnet_ids": dict(subnet_ids)}}, tags, opts)
        self.zones, self.egress = list(subnet_ids), None
        self.id = verify_input(subject, vpc_id, lambda known: id_problems("vpc_id", known))
        self.subnet_ids = {zone: _verified_subnet(subject, zone, subnet, id_problems) for zone, subnet in subnet_ids.items()}
        return self

    def _register(self, **more: pulumi.Output[str]) -> None:
        self.register_outputs({"id": self.id, "subnet_ids": self.subnet_ids, **more})


def adoption_problems(vpc_id: object, subnet_ids: Mapping[str, object], id_problems: IdProblems) -> list[Problem]:
    """Return the problems of the identifiers of an existing network. Outputs are skipped, because they are checked once they are known."""
    problems = [*id_problems("vpc_id", vpc_id)]
    for zone, subnet in subnet_ids.items():
        problems += id_problems(f"subnet_ids.{zone}", subnet)
    if not subnet_ids:
        problems.append(Problem("subnet_ids", "no subnet", "none", "at least one", "list the private subnet of each pool's zone"))
    return problems


def _verified_subnet(subject: str, zone: str, subnet: pulumi.Input[str], id_problems: IdProblems) -> pulumi.Output[str]:
    return verify_input(subject, subnet, lambda known: id_problems(f"subnet_ids.{zone}", known))
