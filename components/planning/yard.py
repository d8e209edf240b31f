"""What a recording says about a yard: its components, pools, budget and raw resources, as plain data. No money, no judgement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pulumi
from pydantic import ValidationError

from ..catalogue import Machine
from ..catalogue.services import SERVICES, Service
from ..registry import PACKAGES, REGION_KEYS
from ..spec import GpuPoolSpec, in_cloud
from .recorder import Recording, properties
from .sdk_arguments import plain

_COMPONENT = re.compile(r"gpuyard-([a-z]+):index:([A-Za-z]+)")


class Resource(NamedTuple):
    """One recorded resource."""

    urn: str
    kind: str
    """Its type token."""
    name: str
    parent: str
    inputs: Mapping[str, Any]
    """Plain data; what is not known yet is UNKNOWN."""
    uses: Mapping[str, tuple[str, ...]]
    """Input -> URNs of the resources whose outputs are in it."""


class Component(NamedTuple):
    """One of gpuyard's components."""

    cloud: str
    kind: str
    """GpuPool, Network, ..."""
    name: str
    inputs: Mapping[str, Any]
    urn: str

    @property
    def tags(self) -> Mapping[str, Any]:
        """Its tags, its parents' included."""
        tags = self.inputs.get("tags")
        return tags if isinstance(tags, Mapping) else {}


class Pool(NamedTuple):
    """A pool and the catalogue's row of its machine."""

    name: str
    cloud: str
    spec: GpuPoolSpec
    machine: Machine | None
    """None on `local`, whose machine is in no catalogue."""
    tags: Mapping[str, Any]

    @property
    def service(self) -> Service:
        """What its service takes."""
        return SERVICES[self.cloud][self.spec.service]


@dataclass(frozen=True)
class Yard:
    """Everything the plan is made of."""

    project: str
    stack: str
    regions: Mapping[str, str | None]
    """Where each cloud's provider works; None, or no entry: nothing says it."""
    recording: Recording

    @property
    def region(self) -> str | None:
        """The regions of the clouds that are used, in words; None: nothing says them."""
        return " and ".join(region for cloud in self.clouds if (region := self.regions.get(cloud))) or None

    @cached_property
    def resources(self) -> list[Resource]:
        """All of them by URN: the order of registration is not always the same."""
        return [_resource(urn, request) for urn, request in sorted(self.recording.resources.items())]

    @cached_property
    def components(self) -> list[Component]:
        """Those of gpuyard."""
        found = ((resource, _COMPONENT.fullmatch(resource.kind)) for resource in self.resources)
        return [Component(match[1], match[2], each.name, each.inputs, each.urn) for each, match in found if match]

    def of(self, *kinds: str) -> list[Resource]:
        """The resources of these types."""
        return [resource for resource in self.resources if resource.kind in kinds]

    def named(self, kind: str) -> list[Component]:
        """The components of a kind."""
        return [component for component in self.components if component.kind == kind]

    @property
    def clouds(self) -> list[str]:
        """The clouds of its components, the raw resources' too."""
        packages = {resource.kind.partition(":")[0] for resource in self.resources}
        raw = {cloud for cloud, package in PACKAGES.items() if package in packages}
        return sorted({component.cloud for component in self.components} | raw)

    @cached_property
    def pools(self) -> list[Pool]:
        """The pools whose specs are known."""
        return [pool for component in self.named("GpuPool") if (pool := _pool(component))]

    @property
    def unread_pools(self) -> list[str]:
        """The pools whose specs hold something that is not known yet."""
        return sorted({component.name for component in self.named("GpuPool")} - {pool.name for pool in self.pools})

    @property
    def owner(self) -> str | None:
        """Who answers for the yard."""
        return self._tag("owner")

    @property
    def expires(self) -> str | None:
        """The date on which its pools go to zero, or never."""
        return self._tag("expires")

    @property
    def budget(self) -> float | None:
        """USD per month that the Budget components state; None where there is none, or its amount is unknown."""
        stated = [component.inputs.get("usd_per_month") for component in self.named("Budget")]
        known = [float(amount) for amount in stated if isinstance(amount, int | float | str)]
        return sum(known) if known else None

    def limit(self, key: str) -> float | None:
        """The lowest limit of that name (gpus, usd_per_job) that a job service sets."""
        limits = (component.inputs.get("limits") for component in self.named("JobService"))
        stated = [each.get(key) for each in limits if isinstance(each, Mapping)]
        known = [float(value) for value in stated if isinstance(value, int | float)]
        return min(known) if known else None

    def _tag(self, key: str) -> str | None:
        found = {str(component.tags[key]) for component in self.components if isinstance(component.tags.get(key), str)}
        return " and ".join(sorted(found)) or None


def regions_of(config: Mapping[str, str], recording: Recording) -> dict[str, str | None]:
    """Where each cloud is asked to make things: the stack's configuration, else the region of the one provider that the program makes."""
    return {cloud: _region(config.get(key), f"pulumi:providers:{PACKAGES[cloud]}", key, recording) for cloud, key in REGION_KEYS.items()}


def _region(configured: str | None, provider: str, key: str, recording: Recording) -> str | None:
    word = key.rpartition(":")[2]
    made = [properties(request.object).get(word) for request in recording.resources.values() if request.type == provider]
    return configured or (made[0] if len(made) == 1 and isinstance(made[0], str) else None)


def known(value: Any) -> bool:
    """Whether a value is known already."""
    return not isinstance(value, pulumi.output.Unknown)


def truth(value: Any) -> bool | None:
    """True or false of what a cloud takes as either a word or a truth value; None where it is not given or not known."""
    return {"true": True, "false": False}.get(str(value).lower())


def _resource(urn: str, request: Any) -> Resource:
    uses = {key: tuple(each.urns) for key, each in request.propertyDependencies.items()}
    return Resource(urn, request.type, request.name, request.parent, _opened(properties(request.object)), uses)


def _opened(value: Any) -> Any:
    """Without the wrappers of secrets: only structure and public facts are read from here."""
    value = plain(value)
    if isinstance(value, dict):
        return {key: _opened(entry) for key, entry in value.items()}
    return [_opened(entry) for entry in value] if isinstance(value, list) else value


def _pool(component: Component) -> Pool | None:
    given = {key: _whole(value) for key, value in component.inputs.items() if key in GpuPoolSpec.model_fields}
    try:
        spec = GpuPoolSpec.model_validate(given, context=in_cloud(component.cloud))
    except ValidationError:
        return None  # a component that was registered has a valid spec: something in it is not known yet
    machine = None if component.cloud == "local" else spec.row(component.cloud)
    return Pool(component.name, component.cloud, spec, machine, component.tags)


def _whole(value: Any) -> Any:
    """Numbers travel as floats: whole ones are integers again."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return {key: _whole(entry) for key, entry in value.items()} if isinstance(value, dict) else value
