"""The pages of docs/ that are made from code are what the code says; every combination of a pool is on them, valid or refused."""

from __future__ import annotations

import re
from itertools import product

import pytest

from components import catalogue
from components.services import Mode, services_of
from tools.docs_tables import DOCS, PAGES, combination

PAGE = (DOCS / "aws-machines.md").read_text(encoding="utf-8")
MODES: tuple[Mode, ...] = ("on_demand", "spot", "reservation", "capacity_block")
COMBINATIONS = list(product(services_of("aws"), MODES))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_the_generated_one(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs"


@pytest.mark.parametrize("machine", catalogue.table("aws").machines)
def test_every_machine_service_and_way_to_buy_is_valid_or_refused_as_written(machine: str) -> None:
    (row,) = re.findall(rf"^\| `{re.escape(machine)}` \| (.*(?:any|\[\d+\]).*) \|$", PAGE, re.MULTILINE)
    cells = row.split(" | ")
    assert len(cells) == len(COMBINATIONS)
    for (service, mode), cell in zip(COMBINATIONS, cells, strict=True):
        one, several = combination(machine, service, mode, 1), combination(machine, service, mode, 2)
        assert (one is None, several is None) == {"any": (True, True), "1": (True, False), "-": (False, False)}[cell.split()[0]]
        if several is not None:
            number = re.findall(r"\[(\d+)\]", cell)[0]
            assert f"\n[{number}]\n```text\n{one or several}\n```" in PAGE


def test_what_the_service_cannot_do_names_the_one_that_can() -> None:
    refused = combination("g6.12xlarge", "batch", "spot", 2)
    assert refused is not None
    assert "spot with several nodes: service: sagemaker or service: vms; or max_nodes: 1" in refused
    held = combination("p5.48xlarge", "sagemaker", "capacity_block", 1)
    assert held is not None
    assert "allowed: on_demand, spot where service is sagemaker" in held
    assert combination("p5.48xlarge", "sagemaker", "spot", 4) is None
