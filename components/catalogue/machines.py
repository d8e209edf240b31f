"""The machines that can be had, from the dated tables in catalogue/: GPUs, NICs, quota, prices. What is unknown is None, never guessed."""

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

_TABLES = Path(__file__).parent


class UnknownMachineError(LookupError):
    """No such machine in the catalogue; the text names near ones."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Row):
    """Where figures come from."""

    what: str
    url: str
    date: datetime.date | None = Field(description="day the figures were taken; null = the source does not say")


class Rate(_Row):
    """A price and where it comes from."""

    usd_per_hour: float = Field(ge=0)
    source: str = Field(description="key in the table's sources")


class Quota(_Row):
    """What an account must be granted for one node."""

    code: str | None = Field(description="the cloud's code; null = not known for this machine: ask the cloud")
    name: str
    unit: str
    per_node: int = Field(ge=1)


class GlobalQuota(_Row):
    """What an account must be granted besides, one for each GPU, whatever the machine and the region."""

    code: str
    name: str
    unit: str


class Machine(_Row):
    """One type of machine."""

    name: str
    cloud: str
    accelerator: str = Field(description="GPU model, such as H100")
    gpus: int = Field(ge=1)
    gpu_memory_gib: float | None
    vcpus: int
    memory_gib: float
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    local_nvme_gb: int | None = Field(description="local NVMe disks together, in GB")
    network_gbps: float | None = Field(description="line rate of all network cards together, in Gb/s")
    network_cards: int = Field(ge=1)
    fast_nics: int = Field(ge=0, description="cards that carry the fast fabric (EFA, RDMA); 0 = none")
    transport: str | None = Field(description="what NCCL must report on it, e.g. NET/OFI; null = no fast fabric")
    services: tuple[str, ...] = Field(description="services that can run it")
    modes: tuple[Mode, ...] | None = Field(None, description="how it is sold, where that is not every way its services take; null = it is")
    quotas: Mapping[str, Quota] = Field(description="by on_demand, spot; a mode that is missing needs none or is not known")
    prices: Mapping[str, Mapping[str, Rate]] = Field(description="region -> on_demand or spot -> rate; missing = not known")
    source: str = Field(description="key in the table's sources, of everything but prices")

    def rate(self, region: str | None, mode: str, service: str) -> Rate | None:
        """The list price of one node, or None where it is not known.

        `mode` is the capacity word. Reserved machines cost what on demand costs; a block is paid in advance, at its own price.
        A service may have rates of its own, which the catalogue does not know (services.py).
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
    items: Mapping[str, Mapping[str, Rate]] = Field(description="what else costs while it stands: item -> region or '*' -> rate")

    def item(self, name: str, region: str | None) -> Rate | None:
        """What one of an item costs in a region, or None where that is not known."""
        rates = self.items.get(name, {})
        return rates.get(region or "", rates.get("*"))


@cache
def table(cloud: str) -> Table:
    """The catalogue of a cloud."""
    data = yaml.safe_load((_TABLES / f"{cloud}.yaml").read_text(encoding="utf-8"))
    data.pop("quota_families", None)  # anchors that the rows were made of
    machines = {name: {"name": name, "cloud": cloud, **row} for name, row in data["machines"].items()}
    return Table.model_validate({**data, "machines": machines})


@cache
def clouds() -> tuple[str, ...]:
    """The clouds with a catalogue."""
    return tuple(sorted(path.stem for path in _TABLES.glob("*.yaml")))


def machine(name: str, among: tuple[str, ...] = ()) -> Machine:
    """A machine by its cloud's own name. Raises UnknownMachineError, which names near ones; `among` narrows the clouds."""
    known = {found.name: found for cloud in clouds() if not among or cloud in among for found in table(cloud).machines.values()}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise UnknownMachineError(f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}")
    return known[name]


def with_accelerator(cloud: str, accelerator: str, gpus: int) -> list[Machine]:
    """The machines of a cloud with so many GPUs of a model: none, one, or several to choose from."""
    return [row for row in table(cloud).machines.values() if (row.accelerator.lower(), row.gpus) == (accelerator.lower(), gpus)]
