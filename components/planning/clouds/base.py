"""The interface between the plan and a cloud: how its raw resources are read. Each cloud's file defines one CloudRules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ...catalogue import Quota
from ..yard import Component, Pool, RecordedYard

RawCheck = Callable[[RecordedYard], Iterator[str]]
"""Yields a message for each resource that breaks a rule."""


class Standing(NamedTuple):
    """Resources of one kind that cost money whether jobs run or not."""

    item: str
    """Key in the catalogue's items."""
    noun: str
    """In the singular."""
    number: int | None
    """None: not known before `pulumi up`."""
    plural: str | None = None
    """Where neither -s nor -es makes it."""


def root_disk(pool: Pool, _yard: RecordedYard) -> str | None:
    """Return the description of a node's root disk."""
    return f"root disk of {pool.spec.root_disk_gib} GiB"


@dataclass(frozen=True)
class CloudRules:
    """How the plan reads one cloud."""

    standing: Callable[[RecordedYard], list[Standing]]
    unpriced: Mapping[str, str]
    """Type token -> noun of resources that cost money and have no price in the catalogue."""
    budgets: Callable[[RecordedYard], list[float]]
    """Returns USD per month of each raw budget resource whose amount is known."""
    own_quota: Callable[[Pool], Quota | None]
    """Returns the quota of the pool's service where it has its own; None: the machine's quota counts."""
    disk: Callable[[Pool, RecordedYard], str | None]
    """Returns the description of a node's disk, which has no price in the catalogue; None: it is free."""
    public_addresses: RawCheck
    inbound_addresses: RawCheck
    unencrypted: RawCheck
    open_metadata: RawCheck
    network: str
    """Type token of the resource that a Network creates and an adopted one does not."""
    nat: str
    """Type token of its NAT gateway."""
    subnets: Callable[[list[object]], str]
    """Returns the description of the subnets of a network in these zones."""
    bucket: str
    """Type token of the resource that a Bucket creates and an adopted one does not."""
    traits: Callable[[Component, Mapping[str, int]], list[str]]
    """Returns the main properties of a bucket, from its inputs and from how many resources of each type it has."""
    fast_card: str = "fast NIC"
    """The cloud's name of a fast network card."""
