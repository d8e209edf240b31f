"""Writes the pages of docs/ that are made from code: `make docs`. A test holds each page to what this writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gpuyard.components import catalogue
from gpuyard.components.base import refusal
from gpuyard.components.catalogue import Machine, Rate, Table
from gpuyard.components.catalogue.services import SERVICES, Mode, services_of
from gpuyard.components.spec import GpuPoolSpec, in_cloud
from gpuyard.problems import problems_from
from tools import docs_azure_roles, docs_components, docs_errors, docs_exit_codes, docs_gcp_roles, docs_permissions, docs_plan
from tools.docs_clouds import CLOUDS, CloudPage
from tools.docs_mistakes import MISTAKES

DOCS = Path(__file__).resolve().parents[1] / "docs"
_MACHINES_HEAD = """# {title}: machines, what they cost, and how each can be had

Written by `make docs` from `components/catalogue/{cloud}.yaml` and the rules of a pool's spec; a test holds this page to them. A figure
that no source states is empty: nothing here is guessed. `gpuyard plan` uses the same figures.
"""
_COMBINATIONS_HEAD = """## Every machine, service and way to buy

A cell says for how many nodes a pool of that kind is valid: `any`, `1` (a pool of several nodes is refused with the message of that
number), or `-` (refused with the message of that number). Messages are what `pulumi up` and `gpuyard plan` say; nothing is created.
"""


def combination(machine: str, service: str, mode: Mode, nodes: int, cloud: str = "aws") -> str | None:
    """What is wrong with a pool of these, in the words a user sees; None: nothing."""
    here = CLOUDS[cloud]
    zone = {"zone": here.zone} if SERVICES[cloud][service].zone == "required" else {}
    spec = {"machine": machine, "service": service, "max_nodes": nodes, "capacity": here.capacity[mode], **zone}
    also = here.also(spec)
    try:
        GpuPoolSpec.model_validate(spec, context=in_cloud(cloud))
    except ValidationError as error:
        return refusal("GpuPool NAME", [*problems_from(error, GpuPoolSpec), *also])
    return refusal("GpuPool NAME", also) if also else None


def machines(cloud: str) -> str:
    """The page about a cloud's machines."""
    table, here = catalogue.table(cloud), CLOUDS[cloud]
    head = _MACHINES_HEAD.format(title=here.title, cloud=cloud)
    parts = (_figures(table, here), _quotas(table, here), _standing(table), _sources(table), _combinations(cloud, table, here))
    return "\n".join([head, *(line for part in parts for line in (*part, ""))])


def _figures(table: Table, here: CloudPage) -> Iterator[str]:
    yield "## Machines\n"
    head = ["machine", "GPUs", "GiB each", "vCPU", "GiB", "NVMe GB", "Gb/s", "cards", here.fast_card, "NCCL reports"]
    rows = [
        [
            *(f"`{row.name}`", f"{row.gpus} {row.accelerator}", row.gpu_memory_gib, row.vcpus, row.memory_gib, row.local_nvme_gb),
            *(row.network_gbps, row.network_cards, row.fast_nics, row.transport, _prices(row)),
        ]
        for row in table.machines.values()
    ]
    yield from _table([*head, "on demand, USD per node hour"], rows)
    yield f"\n{here.prices}"


def _prices(row: Machine) -> str:
    known = {region: modes["on_demand"] for region, modes in row.prices.items() if "on_demand" in modes}
    return "; ".join(f"{region} {rate.usd_per_hour:.10g}" for region, rate in known.items()) or "none listed"


def _quotas(table: Table, here: CloudPage) -> Iterator[str]:
    yield f"## {here.quota_title}\n"
    rows: dict[tuple[Any, ...], list[str]] = {}
    for row in table.machines.values():
        for mode, quota in row.quotas.items():
            rows.setdefault((quota.code, quota.name, mode, quota.unit), []).append(f"`{row.name}` {quota.per_node}")
    yield from _table(["code", "name", "for", "unit", "per node"], [[*key, ", ".join(asked)] for key, asked in rows.items()])
    yield f"\n{here.quotas}"


def _standing(table: Table) -> Iterator[str]:
    yield "## What costs while it stands\n"
    rows = [[item.replace("_", " "), region, _rate(rate)] for item, rates in table.items.items() for region, rate in rates.items()]
    yield from _table(["item", "region", "USD per hour, source"], rows)


def _rate(rate: Rate) -> str:
    return f"{rate.usd_per_hour:.10g} ({rate.source})"


def _sources(table: Table) -> Iterator[str]:
    yield "## Sources\n"
    yield from _table(
        ["key", "date", "what", "where"], [[key, each.date or "not stated", each.what, each.url] for key, each in table.sources.items()]
    )


def _combinations(cloud: str, table: Table, here: CloudPage) -> Iterator[str]:
    yield _COMBINATIONS_HEAD
    messages: dict[str, int] = {}

    def cell(machine: str, service: str, mode: Mode) -> str:
        one, several = (combination(machine, service, mode, nodes, cloud) for nodes in (1, 2))
        wrong = one or several
        if wrong is None:
            return "any"
        number = messages.setdefault(wrong, len(messages) + 1)
        return f"{'-' if one else '1'} [{number}]"

    columns = [(service, mode) for service in services_of(cloud) for mode in here.capacity]
    rows = [[f"`{machine}`", *(cell(machine, service, mode) for service, mode in columns)] for machine in table.machines]
    yield from _table(["machine", *(f"{service} {mode}" for service, mode in columns)], rows)
    for message, number in messages.items():
        yield f"\n[{number}]\n```text\n{message}\n```"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_shown(value) for value in row)} |"


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:,g}" if isinstance(value, int | float) else str(value).replace("|", "\\|")


PAGES: Mapping[str, Callable[[], str]] = {
    **{f"{cloud}-errors.md": partial(docs_errors.text, cloud) for cloud in MISTAKES},
    **{f"{cloud}-machines.md": partial(machines, cloud) for cloud in CLOUDS},
    "aws-permissions.md": docs_permissions.text,
    "azure-permissions.md": docs_azure_roles.text,
    "gcp-permissions.md": docs_gcp_roles.text,
    "components.md": docs_components.page,
    "exit-codes.md": docs_exit_codes.page,
    "plan.md": docs_plan.page,
    docs_plan.PICTURE: docs_plan.picture,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
