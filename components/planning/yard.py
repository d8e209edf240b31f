"""A recorded yard as plain data: its components, pools, budget and resources. It is the input of cost, quota and policy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import pulumi
from pulumi.runtime.proto import resource_pb2
from pydantic import ValidationError

from ..catalogue import Machine
from ..catalogue.services import SERVICES, Service
from ..registry import PACKAGES
from ..spec import GpuPoolSpec, in_cloud
from .recorder import Recording, properties
from .regions import cloud_of, region_of
from .sdk_arguments import plain

__all__ = ["RecordedComponent", "RecordedPool", "RecordedYard", "Resource", "boolean", "known"]

_COMPONENT = re.compile(r"gpuyard-([a-z]+):index:([A-Za-z]+)")


class Resource(NamedTuple):
    """One recorded resource."""

    urn: str
    kind: str
    """Type token, such as aws:ec2/vpc:Vpc."""
    name: str
    parent: str
    inputs: Mapping[str, object]
    """Plain data without secret marks; an unknown value is a `pulumi.output.Unknown`."""
    uses: Mapping[str, tuple[str, ...]]
    """URNs of the resources whose outputs an input contains, by input."""
    region: str | None = None
    """The region in its inputs, or its provider's region. None: not known."""


class RecordedComponent(NamedTuple):
    """One recorded component of gpuyard."""

    cloud: str
    kind: str
    """Class name: GpuPool, Network, ..."""
    name: str
    inputs: Mapping[str, object]
    urn: str
    region: str | None

    @property
    def tags(self) -> Mapping[str, object]:
        """The component's tags, including its parents' tags."""
        tags = self.inputs.get("tags")
        return tags if isinstance(tags, Mapping) else {}


class RecordedPool(NamedTuple):
    """A pool with a known spec, and the catalogue's entry for its machine."""

    name: str
    cloud: str
    urn: str
    spec: GpuPoolSpec
    machine: Machine | None
    """None on `local`: this machine is in no catalogue."""
    tags: Mapping[str, object]
    region: str | None
    """Region of its provider. None: not known."""

    @property
    def service(self) -> Service:
        """The features of the pool's service."""
        return SERVICES[self.cloud][self.spec.service]


@dataclass(frozen=True)
class RecordedYard:
    """The yard that a recorded program declared, with its components and resources: the input of every part of the plan."""

    project: str
    stack: str
    regions: Mapping[str, str | None]
    """Region of each cloud's default provider. None or missing: not configured."""
    recording: Recording

    @property
    def region(self) -> str | None:
        """The regions of all resources, joined with "and"; None if none is known."""
        return " and ".join(sorted({each.region for each in self.resources if each.region})) or None

    @cached_property
    def resources(self) -> list[Resource]:
        """All resources, sorted by URN because the order of registration varies."""
        return [self._resource(urn, request) for urn, request in sorted(self.recording.resources.items())]

    @cached_property
    def components(self) -> list[RecordedComponent]:
        """The components of gpuyard."""
        found = ((resource, _COMPONENT.fullmatch(resource.kind)) for resource in self.resources)
        return [RecordedComponent(match[1], match[2], each.name, each.inputs, each.urn, each.region) for each, match in found if match]

    def of(self, *kinds: str) -> list[Resource]:
        """Return the resources of these types."""
        return [resource for resource in self.resources if resource.kind in kinds]

    def named(self, kind: str) -> list[RecordedComponent]:
        """Return the components of a kind."""
        return [component for component in self.components if component.kind == kind]

    def by_region(self, cloud: str) -> dict[str | None, RecordedYard]:
        """Return the resources of a cloud as one yard for each region. The key None has the resources without a known region."""
        regions = {each.urn: each.region for each in self.resources if cloud_of(each.kind) == cloud}
        found = sorted(set(regions.values()), key=str)
        return (
            {found[0]: self}
            if len(found) == 1
            else {region: self._only(urn for urn in regions if regions[urn] == region) for region in found}
        )

    @property
    def clouds(self) -> list[str]:
        """The clouds of all components and of resources declared without gpuyard."""
        packages = {resource.kind.partition(":")[0] for resource in self.resources}
        raw = {cloud for cloud, package in PACKAGES.items() if package in packages}
        return sorted({component.cloud for component in self.components} | raw)

    @cached_property
    def pools(self) -> list[RecordedPool]:
        """The pools whose specs are known."""
        return [pool for component in self.named("GpuPool") if (pool := _pool(component))]

    @property
    def unknown_pools(self) -> list[str]:
        """The names of the pools whose specs contain unknown values."""
        return sorted({component.name for component in self.named("GpuPool")} - {pool.name for pool in self.pools})

    @property
    def owner(self) -> str | None:
        """The tag `owner`; several owners are joined with "and"."""
        return self._tag("owner")

    @property
    def expires(self) -> str | None:
        """The tag `expires`: the date on which the pools go to zero nodes, or "never"."""
        return self._tag("expires")

    @property
    def budget(self) -> float | None:
        """The sum of the known amounts of the Budget components, in USD per month. None: no amount is known."""
        amounts = [component.inputs.get("usd_per_month") for component in self.named("Budget")]
        known = [float(amount) for amount in amounts if isinstance(amount, int | float | str)]
        return sum(known) if known else None

    def limit(self, key: str) -> float | None:
        """Return the lowest limit `key` (gpus or usd_per_job) of all job services; None if no job service sets it."""
        limits = (component.inputs.get("limits") for component in self.named("JobService"))
        values = [each.get(key) for each in limits if isinstance(each, Mapping)]
        known = [float(value) for value in values if isinstance(value, int | float)]
        return min(known) if known else None

    def _only(self, urns: Iterable[str]) -> RecordedYard:
        return replace(self, recording=replace(self.recording, resources={urn: self.recording.resources[urn] for urn in urns}))

    def _resource(self, urn: str, request: resource_pb2.RegisterResourceRequest) -> Resource:
        uses = {key: tuple(each.urns) for key, each in request.propertyDependencies.items()}
        inputs = {name: _without_secrets(value) for name, value in properties(request.object).items()}
        region = region_of(request, inputs, self.regions, self.recording.resources)
        return Resource(urn, request.type, request.name, request.parent, inputs, uses, region)

    def _tag(self, key: str) -> str | None:
        found = {str(component.tags[key]) for component in self.components if isinstance(component.tags.get(key), str)}
        return " and ".join(sorted(found)) or None


def known(value: object) -> bool:
    """Return whether a value is known before `pulumi up`."""
    return not isinstance(value, pulumi.output.Unknown)


def boolean(value: object) -> bool | None:
    """Return an input as a bool; None if it is missing or unknown. Clouds also accept the strings "true" and "false"."""
    return {"true": True, "false": False}.get(str(value).lower())


def _without_secrets(value: object) -> object:
    """Return the value without the wrappers of secrets."""
    value = plain(value)
    if isinstance(value, dict):
        return {key: _without_secrets(entry) for key, entry in value.items()}
    return [_without_secrets(entry) for entry in value] if isinstance(value, list) else value


def _pool(component: RecordedComponent) -> RecordedPool | None:
    given = {key: _whole(value) for key, value in component.inputs.items() if key in GpuPoolSpec.model_fields}
    try:
        spec = GpuPoolSpec.model_validate(given, context=in_cloud(component.cloud))
    except ValidationError:
        return None  # a registered component has a valid spec, so some value in it is unknown
    machine = None if component.cloud == "local" else spec.row(component.cloud)
    return RecordedPool(component.name, component.cloud, component.urn, spec, machine, component.tags, component.region)


def _whole(value: object) -> object:
    """Return whole numbers as integers, because protobuf has only floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return {key: _whole(entry) for key, entry in value.items()} if isinstance(value, dict) else value
