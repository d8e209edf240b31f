"""Base class of networks on every cloud: constructor, validation, outputs, adoption."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

import pulumi

from ..plain_data import PlainMapping
from ..problems import Problem, show
from .base import Component, Problems, Tags, refuse, validate_spec, verify_input
from .naming import name_problems
from .spec import NetworkSpec
from .spec.fields import as_mapping
from .validation.network import DEFAULT_CIDR

__all__ = ["IdForm", "NetworkBase"]


class IdForm(NamedTuple):
    """Form of network or subnet identifiers on one cloud, with the error message for a wrong identifier."""

    pattern: re.Pattern[str]
    allowed: str
    what: str = "not a resource id"
    fix: str = "copy it from the console or from the other stack's outputs"


class NetworkBase(Component):
    """Base class of every network: subnets for nodes, without public addresses.

    A cloud's Network makes a network in `_make` or adopts an existing network in `_use_existing`.
    """

    id: pulumi.Output[str]
    """Identifier of the virtual network."""
    subnet_ids: dict[str, pulumi.Output[str]]
    """Private subnet by zone, known after its egress works."""
    zones: list[str]
    egress: str | None
    """nat, endpoints or none. None for an adopted network: its routes decide."""
    egress_ports: Sequence[int] = ()
    """TCP ports of the internet that nodes may reach besides 443. An adopted network has none."""
    _id_forms: ClassVar[Mapping[str, IdForm]]
    """Form of `vpc_id` and of `subnet_ids`."""
    _output_names: ClassVar[Sequence[str]] = ("id", "subnet_ids")

    def __init__(
        self,
        name: str,
        spec: NetworkSpec | PlainMapping | None = None,
        *,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the network. `spec` needs zones."""
        found = [*self._name_problems(name), *self._problems(as_mapping(spec), opts)]
        valid = validate_spec(NetworkSpec, spec, f"Network {name}", self.cloud, found)
        cidr = valid.cidr or DEFAULT_CIDR
        ports = {"egress_ports": valid.egress_ports} if valid.egress_ports else {}
        super().__init__("Network", name, {"cidr": cidr, "zones": valid.zones, "egress": valid.egress, **ports}, tags, opts)
        self.zones, self.egress, self.egress_ports = list(valid.zones), valid.egress, valid.egress_ports
        self._make(cidr)
        self._register()

    @classmethod
    def adopt(
        cls,
        name: str,
        *,
        vpc_id: pulumi.Input[str],
        subnet_ids: Mapping[str, pulumi.Input[str]],
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> Self:
        """Use an existing network and change nothing in it. `subnet_ids`: private subnet by zone, at least one."""
        self = cls._register_existing(name, vpc_id, subnet_ids, (), tags, opts)
        self._use_existing()
        return self._register()

    @classmethod
    def _register_existing(
        cls,
        name: str,
        vpc_id: pulumi.Input[str],
        subnet_ids: Mapping[str, pulumi.Input[str]],
        problems: Problems,
        tags: Tags | None,
        opts: pulumi.ResourceOptions | None,
    ) -> Self:
        """Register an existing network. Check identifiers at once if they are strings, or when their outputs are known."""
        subject = f"Network {name}"
        refuse(subject, [*cls._name_problems(name), *problems, *cls.adoption_problems(vpc_id, subnet_ids)])
        self = cls.__new__(cls)
        super(NetworkBase, self).__init__("Network", name, {"existing": {"vpc_id": vpc_id, "subnet_ids": dict(subnet_ids)}}, tags, opts)
        self.zones, self.egress = list(subnet_ids), None
        self.id = cls._verified_id(subject, "vpc_id", vpc_id)
        self.subnet_ids = {zone: cls._verified_id(subject, f"subnet_ids.{zone}", subnet) for zone, subnet in subnet_ids.items()}
        return self

    @classmethod
    def adoption_problems(cls, vpc_id: object, subnet_ids: Mapping[str, object]) -> list[Problem]:
        """Return the problems of an existing network's identifiers. Skip outputs, whose values are not known yet."""
        problems = cls._id_problems("vpc_id", vpc_id)
        for zone, subnet in subnet_ids.items():
            problems += cls._id_problems(f"subnet_ids.{zone}", subnet)
        if not subnet_ids:
            problems.append(Problem("subnet_ids", "no subnet", "none", "at least one", "list the private subnet of each pool's zone"))
        return problems

    @classmethod
    def _id_problems(cls, key: str, value: object) -> list[Problem]:
        form = cls._id_forms[key.partition(".")[0]]
        if not isinstance(value, str | None) or form.pattern.match(str(value)):
            return []
        return [Problem(key, form.what, show(value), form.allowed, form.fix)]

    @classmethod
    def _verified_id(cls, subject: str, key: str, value: pulumi.Input[str]) -> pulumi.Output[str]:
        return verify_input(subject, value, lambda known: cls._id_problems(key, known))

    @classmethod
    def _name_problems(cls, name: str) -> Problems:
        return name_problems(name)

    def _problems(self, given: PlainMapping, opts: pulumi.ResourceOptions | None) -> Problems:
        """Return the problems that NetworkSpec cannot find. `given`: the spec's values, not validated."""
        raise NotImplementedError

    def _make(self, cidr: str) -> None:
        """Make the network's resources and set its attributes."""
        raise NotImplementedError

    def _use_existing(self) -> None:
        """Set the cloud's own attributes of an existing network."""
        raise NotImplementedError

    def _register(self) -> Self:
        self.register_outputs(self._outputs())
        return self
