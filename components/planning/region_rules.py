"""The policy rules about regions: zones, networks and job services must be in the region of their pools."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from .finding import Finding, violation
from .yard import RecordedComponent, RecordedYard

__all__ = ["region_conflicts"]


def region_conflicts(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each component whose zone, network or pool is in another region. Skip unknown regions."""
    for component in yard.components:
        yield from _zones(component)
    pools = {(pool.cloud, pool.name): pool for pool in yard.named("GpuPool")}
    for service in yard.named("JobService"):
        names = service.inputs.get("pools")
        for name in names if isinstance(names, list) else []:
            pool = pools.get((service.cloud, str(name)))
            if pool is not None and _differ(pool.region, service.region):
                yield violation(
                    service,
                    f"{service.name}: job service in {service.region}, its pool {pool.name} in {pool.region}; "
                    "give both the same provider, or make one job service for each region",
                )
    yield from _networks(yard)


def _zones(component: RecordedComponent) -> Iterator[Finding]:
    zones = component.inputs.get("zones") or [component.inputs.get("zone")]
    for zone in zones if isinstance(zones, list) else []:
        # Azure's zones are numbers within the region
        if isinstance(zone, str) and not zone.isdigit() and component.region and not _in(zone, component.region):
            text = f"{component.name}: zone {zone} is not in {component.region}, the region of its provider; change one of them"
            yield violation(component, text)


def _in(zone: str, region: str) -> bool:
    """Return whether a zone of AWS or GCP is in a region. europe-west12-a is not in europe-west1."""
    rest = zone.removeprefix(region)
    return rest != zone and not rest[:1].isdigit()


def _networks(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each pool whose machines use a network of another region."""
    parents = {each.urn: each.parent for each in yard.resources}
    networks = {component.urn: component for component in yard.named("Network")}
    pools = {component.urn: component for component in yard.named("GpuPool")}
    pairs = {
        (one, other)
        for each in yard.resources
        if (one := _ancestor(each.urn, parents, pools))
        for used in each.uses.values()
        for urn in used
        if (other := _ancestor(urn, parents, networks))
    }
    for one, other in sorted(pairs):
        pool, network = pools[one], networks[other]
        if _differ(pool.region, network.region):
            text = f"{pool.name}: pool in {pool.region}, its network {network.name} in {network.region}; give both the same provider"
            yield violation(pool, text)


def _ancestor(urn: str, parents: Mapping[str, str], among: Collection[str]) -> str | None:
    """Return the first URN that is in `among`: the resource's own or its nearest ancestor's. None: no such URN."""
    while urn and urn not in among:
        urn = parents.get(urn, "")
    return urn or None


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other
