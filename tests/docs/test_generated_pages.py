"""Generated pages and pictures of docs/ match their generators. Every combination of machine, service and capacity is on them."""

from __future__ import annotations

import re
from itertools import product

import pytest

from gpuyard.components import catalogue
from gpuyard.components.catalogue.services import services_of
from gpuyard.stacks.cli import schema
from tools.docs_clouds import CLOUDS
from tools.docs_tables import DOCS, PAGES, combination
from tools.engine.versions import ENGINE

MACHINES = [(cloud, machine) for cloud in CLOUDS for machine in catalogue.table(cloud).machines]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_the_generated_one(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs"


def test_every_json_document_of_a_command_has_a_schema() -> None:
    commands = re.findall(r"^## gpuyard (\S+)\n(.*?)(?=^## |\Z)", PAGES["commands.md"](), re.MULTILINE | re.DOTALL)
    with_json = {name for name, text in commands if "`--json`" in text}
    assert with_json > {"submit", "status", "plan"}
    assert with_json <= set(schema.models())


def test_the_page_on_installing_names_the_supported_engine() -> None:
    assert f"version {ENGINE} or a newer {ENGINE.split('.')[0]}.x" in " ".join((DOCS / "install.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("cloud", "machine"), MACHINES)
def test_every_combination_is_valid_or_refused_as_the_page_says(cloud: str, machine: str) -> None:
    page = (DOCS / f"{cloud}-machines.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{re.escape(machine)}` \| (.*(?:any|\[\d+\]).*) \|$", page, re.MULTILINE)
    cells = row.split(" | ")
    for (service, mode), cell in zip(product(services_of(cloud), CLOUDS[cloud].capacity), cells, strict=True):
        one, several = (combination(machine, service, mode, nodes, cloud) for nodes in (1, 2))
        assert (one is None, several is None) == {"any": (True, True), "1": (True, False), "-": (False, False)}[cell.split()[0]]
        if several is not None:
            number = re.findall(r"\[(\d+)\]", cell)[0]
            assert f"\n[{number}]\n```text\n{one or several}\n```" in page


def test_a_refused_combination_names_a_service_that_accepts_it() -> None:
    refused = combination("g6.12xlarge", "batch", "spot", 2)
    assert refused is not None
    assert "for spot with several nodes use service: sagemaker or service: vms, or set max_nodes: 1" in refused
    block = combination("p5.48xlarge", "sagemaker", "capacity_block", 1)
    assert block is not None
    assert "allowed: on_demand, spot for service: sagemaker" in block
    assert combination("p5.48xlarge", "sagemaker", "spot", 4) is None
