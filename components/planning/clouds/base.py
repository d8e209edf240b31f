"""What the plan asks of a cloud: how its raw resources are read. One value of this class for each cloud, in the file of its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...catalogue import Quota
from ..yard import Component, Pool, Yard

Look = Callable[[Yard], Iterator[str]]


class Standing(NamedTuple):
    """Things that cost while they stand, whether jobs run or not."""

    item: str
    """Key in the catalogue's items."""
    word: str
    """For people, in the singular."""
    number: int | None
    """None: not known before `pulumi up`."""
    plural: str | None = None
    """Where neither -s nor -es makes it."""


def root_disk(pool: Pool, _yard: Yard) -> str | None:
    """Of the size that the pool says."""
    return f"root disk of {pool.spec.root_disk_gib} GiB"


@dataclass(frozen=True)
class CloudRules:
    """How the plan reads one cloud."""

    standing: Callable[[Yard], list[Standing]]
    unpriced: Mapping[str, str]
    """Types that cost and are in no catalogue, with their words: told, not priced."""
    budgets: Callable[[Yard], list[float]]
    """USD per month of the cloud's own budgets, where they are known."""
    own_quota: Callable[[Pool], Quota | None]
    """What to ask for where the pool's service has a quota of its own; None: the machine's."""
    disk: Callable[[Pool, Yard], str | None]
    """The disk of each node, in words, as no dated source has its price; None: it costs nothing."""
    public_addresses: Look
    inbound_addresses: Look
    unencrypted: Look
    open_metadata: Look
    network: str
    """Type of the resource that a Network makes and an adopted one does not."""
    nat: str
    """Type of its NAT gateway."""
    subnets: Callable[[list[Any]], str]
    """What a network of these zones has, in a few words."""
    bucket: str
    """Type of the resource that a Bucket makes and an adopted one does not."""
    traits: Callable[[Component, Mapping[str, int]], list[str]]
    """What there is to say of a bucket; told how many resources of each type it has."""
    fast_card: str = "fast NIC"
    """What the cloud calls a card that carries the fast fabric."""
