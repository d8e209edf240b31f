"""Read the dated tables of GPU machines: GPUs, network cards, quotas, prices. An unknown value is None."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from .services import Mode
from .services import service as row_of

__all__ = [
    "AllReduce",
    "DiskRate",
    "GlobalQuota",
    "Machine",
    "Quota",
    "Rate",
    "Source",
    "Table",
    "UnknownMachineError",
    "clouds",
    "machine",
    "table",
    "with_accelerator",
]

_TABLES = Path(__file__).parent
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser, where PyYAML was built with it, is ten times faster
_SHARE_OF_PUBLISHED = 0.7
_HOURS = 730  # of a month


class UnknownMachineError(LookupError):
    """The catalogue has no such machine; the message suggests similar names."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Row):
    """The source of figures."""

    what: str
    url: str
    date: datetime.date | None = Field(description="day of the figures; null = the source has no date")


class Rate(_Row):
    """A price and its source."""

    usd_per_hour: float = Field(ge=0)
    source: str = Field(description="where the figure is from: a key of the table's `sources`")


class DiskRate(_Row):
    """The price of a disk for a month of 730 hours, by GiB or by the sizes that the cloud sells."""

    usd_per_gib_month: float = Field(0, ge=0)
    usd_per_month: float = Field(0, ge=0, description="price of each disk besides its size, for additional performance")
    sizes: Mapping[int, float] | None = Field(
        None, description="GiB -> USD per month; a disk is billed as the next larger size listed; null = any size"
    )
    source: str = Field(description="where the figure is from: a key of the table's `sources`")

    def usd_per_hour(self, gib: int) -> float | None:
        """Return the price of a disk per hour; None if no listed size is large enough."""
        if self.sizes is None:
            return (gib * self.usd_per_gib_month + self.usd_per_month) / _HOURS
        size = min((size for size in self.sizes if size >= gib), default=None)
        return None if size is None else self.sizes[size] / _HOURS


class AllReduce(_Row):
    """The published speed of an all-reduce between nodes."""

    gbs: float = Field(gt=0, description="bus bandwidth in GB/s, as nccl-tests define it")
    source: str = Field(description="where the figure is from: a key of the table's `sources`")


class Quota(_Row):
    """The quota that one node needs."""

    code: str | None = Field(description="the cloud's quota code; null = unknown for this machine")
    name: str
    unit: str
    per_node: int = Field(ge=1)


class GlobalQuota(_Row):
    """A quota of GPUs in all regions together, in addition to the machine's own quota."""

    code: str
    name: str
    unit: str


class Machine(_Row):
    """One machine type."""

    name: str
    cloud: str
    accelerator: str = Field(description="GPU model, such as H100")
    gpus: int = Field(ge=1)
    gpu_memory_gib: float | None
    vcpus: int
    memory_gib: float
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    local_nvme_gb: int | None = Field(description="total size of local NVMe disks in GB")
    network_gbps: float | None = Field(description="total line rate of all network cards in Gb/s")
    fabric_gbps: float | None = Field(None, description="total line rate of the fast cards in Gb/s; default: network_gbps")
    network_cards: int = Field(ge=1)
    fast_nics: int = Field(ge=0, description="number of cards of the fast fabric (EFA, RDMA); 0 = none")
    transport: str | None = Field(description="transport that NCCL must report, such as NET/OFI; null = no fast fabric")
    all_reduce: AllReduce | None = Field(
        None, description="published all-reduce between nodes over `transport`; null = no published figure"
    )
    services: tuple[str, ...] = Field(description="services that can run the machine")
    modes: tuple[Mode, ...] = Field(min_length=1, description="purchase modes in which the cloud sells the machine")
    quotas: Mapping[str, Quota] = Field(description="quota by mode (on_demand, spot); missing = no quota is needed, or it is unknown")
    prices: Mapping[str, Mapping[str, Rate]] = Field(description="region -> on_demand or spot -> rate; missing = unknown")
    also_in: Mapping[str, str] = Field({}, description="regions that sell the machine without a known price -> key in the table's sources")
    source: str = Field(description="where everything except the prices is from: a key of the table's `sources`")

    @property
    def fabric_line_gbps(self) -> float | None:
        """The line rate of the fast cards; of all cards if the machine has no fast cards."""
        return self.fabric_gbps or self.network_gbps

    @property
    def default_floor(self) -> float | None:
        """Lowest share of the line rate for a healthy network: 0.7 of the published all-reduce, at most 0.7. None: no published figure."""
        if self.all_reduce is None or not self.fabric_line_gbps:
            return None
        return round(_SHARE_OF_PUBLISHED * min(1, self.all_reduce.gbs * 8 / self.fabric_line_gbps), 3)

    @property
    def regions(self) -> frozenset[str]:
        """The regions that are known to sell the machine. Other regions may sell it too."""
        return frozenset({*self.prices, *self.also_in})

    def rate(self, region: str | None, mode: str, service: str) -> Rate | None:
        """Return the list price of one node per hour; None if unknown.

        A reservation costs the on-demand price. The price of a capacity block is unknown, because blocks are paid in advance. The price is
        also unknown for a service with its own prices (services.py).
        """
        row = row_of(service, self.cloud)
        if row is None or not row.list_prices:
            return None
        return self.prices.get(region or "", {}).get("on_demand" if mode == "reservation" else mode)


class Table(_Row):
    """One cloud's catalogue."""

    cloud: str
    sources: Mapping[str, Source]
    global_quota: GlobalQuota | None = None
    machines: Mapping[str, Machine]
    items: Mapping[str, Mapping[str, Rate]] = Field(description="prices of other resources per hour: item -> region or '*' -> rate")
    disks: Mapping[str, Mapping[str, DiskRate]] = Field(description="prices of root disks: kind of disk -> region -> rate")

    def item(self, name: str, region: str | None) -> Rate | None:
        """Return the hourly price of one item in a region; None if unknown."""
        rates = self.items.get(name, {})
        return rates.get(region or "", rates.get("*"))

    def disk(self, kind: str | None, region: str | None) -> DiskRate | None:
        """Return the price of a kind of disk in a region; None if unknown."""
        return self.disks.get(kind or "", {}).get(region or "")


@cache
def table(cloud: str) -> Table:
    """Return the catalogue of a cloud."""
    data = yaml.load((_TABLES / f"{cloud}.yaml").read_text(encoding="utf-8"), Loader=_YAML)  # noqa: S506 both loaders are safe
    data.pop("quota_families", None)  # YAML anchors for the rows
    machines = {name: {"name": name, "cloud": cloud, **row} for name, row in data["machines"].items()}
    return Table.model_validate({**data, "machines": machines})


@cache
def clouds() -> tuple[str, ...]:
    """Return the clouds that have a catalogue."""
    return tuple(sorted(path.stem for path in _TABLES.glob("*.yaml")))


def machine(name: str, among: tuple[str, ...] = ()) -> Machine:
    """Return a machine by its name. Raises UnknownMachineError. `among`: the clouds to search (default: all)."""
    known = {found.name: found for cloud in clouds() if not among or cloud in among for found in table(cloud).machines.values()}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise UnknownMachineError(f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}")
    return known[name]


def with_accelerator(cloud: str, accelerator: str, gpus: int) -> list[Machine]:
    """Return the machines of a cloud with this GPU model and number of GPUs."""
    return [row for row in table(cloud).machines.values() if (row.accelerator.lower(), row.gpus) == (accelerator.lower(), gpus)]
