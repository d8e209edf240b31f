"""The catalogue against the kept comparison with its sources, and the committed stacks against the regions of their machines."""

from __future__ import annotations

import pytest

from gpuyard.components import catalogue
from gpuyard.stacks.settings import load
from tests.helpers.committed_stacks import YARDS, config
from tools.catalogue_sources import NOT_COMPARED, OUTPUT, SOURCES, figures

KEPT = dict(line.rsplit(": ", 1) for line in OUTPUT.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))


def test_each_figure_was_compared_with_its_source() -> None:
    """Run `python -m tools.catalogue_sources FOLDER` after a change of the catalogue."""
    expected = {str(figure): "ok" if (figure.cloud, figure.source) in SOURCES else NOT_COMPARED[figure.cloud, figure.source]
                for figure in figures()}  # fmt: skip
    assert expected == KEPT


def test_sources_of_regions_are_in_the_table() -> None:
    for table in map(catalogue.table, catalogue.clouds()):
        assert {source for row in table.machines.values() for source in row.also_in.values()} <= set(table.sources)


@pytest.mark.parametrize("stack", [stack for stacks in YARDS.values() for stack in stacks])
def test_a_committed_stack_names_machines_that_its_region_sells(stack: str) -> None:
    given = config(stack)
    settings = load(given, stack=stack)
    region = next(value for key, value in given.items() if key in ("aws:region", "gcp:region", "azure-native:location"))
    for name, pool in settings.pools.items():
        row = pool.row(settings.cloud)
        assert region in row.regions, f"{name}: {row.name} is sold in {', '.join(sorted(row.regions))}"
