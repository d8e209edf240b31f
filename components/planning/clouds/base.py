"""PlanRules: the functions with which the plan finds costs, quotas and policy violations in one cloud's resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ...catalogue import Quota
from ..finding import Finding
from ..yard import RecordedComponent, RecordedPool, RecordedYard

__all__ = ["PlanRules", "RawCheck", "RootDisk", "Standing", "root_disk"]

RawCheck = Callable[[RecordedYard], Iterator[Finding]]
"""Function that yields a violation for each resource that breaks a rule."""


class Standing(NamedTuple):
    """Resources of one kind that cost money even when no job runs."""

    item: str
    """Key in the catalogue's items."""
    noun: str
    """Name of one resource, in the singular."""
    number: int | None
    """Number of resources. None: not known before `pulumi up`."""
    plural: str | None = None
    """Plural of the noun, if it does not end in -s or -es."""


class RootDisk(NamedTuple):
    """The root disk of a node."""

    kind: str | None
    """Key in the catalogue's disks. None: the service has its own prices, or the kind of disk is not known."""
    noun: str
    """Description of one disk."""


def root_disk(pool: RecordedPool, kind: str | None) -> RootDisk:
    """Return a node's root disk. Its price is unknown if the service has its own prices."""
    priced = kind if pool.service.list_prices else None
    return RootDisk(priced, f"root disk of {pool.spec.root_disk_gib} GiB" + (f" ({priced})" if priced else ""))


@dataclass(frozen=True)
class PlanRules:
    """The plan's rules for the resources of one cloud."""

    standing: Callable[[RecordedYard], list[Standing]]
    unpriced: Mapping[str, str]
    """Nouns, by type token, for resources that cost money and have no price in the catalogue."""
    budgets: Callable[[RecordedYard], list[float]]
    """Function that returns the known amounts of the budget resources, in USD per month."""
    own_quota: Callable[[RecordedPool], Quota | None]
    """Function that returns the service's own quota for a pool. None: the machine's quota applies."""
    disk: Callable[[RecordedPool, RecordedYard], RootDisk | None]
    """Function that returns a node's root disk. None: the disk is free."""
    public_addresses: RawCheck
    inbound_addresses: RawCheck
    unencrypted: RawCheck
    open_metadata: RawCheck
    network: str
    """Type token of the network resource. A Network creates it; an adopted Network does not."""
    nat: str
    """Type token of the NAT gateway."""
    subnets: Callable[[list[object]], str]
    """Function that describes the subnets of a network with these zones."""
    bucket: str
    """Type token of the bucket resource. A Bucket creates it; an adopted Bucket does not."""
    traits: Callable[[RecordedComponent, Mapping[str, int]], list[str]]
    """Function that returns the main properties of a bucket from its inputs and its number of resources by type."""
    fast_card: str = "fast NIC"
    """The cloud's name for a fast network card."""
