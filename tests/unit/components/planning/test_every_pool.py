"""Every machine of the catalogue, with every service and capacity mode: the plan of the real component is complete."""

from __future__ import annotations

import datetime
from itertools import product
from typing import Any

import pytest

from gpuyard.components import catalogue
from gpuyard.components.aws import Bucket, GpuPool, Network
from gpuyard.components.catalogue.services import SERVICES, Mode, services_of
from gpuyard.components.planning.plan import make_plan

from .conftest import TAGS, MakeYard

NOW = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
RESERVED = {"reservation": "cr-0123456789abcdef0"}
CAPACITY: dict[Mode, Any] = {
    "on_demand": "on_demand",
    "spot": "spot",
    "reservation": {"mode": "reservation", **RESERVED},
    "capacity_block": {"mode": "capacity_block", **RESERVED, "ends": "2026-12-19T11:30:00Z"},
}
KINDS = [(service, mode) for service in services_of("aws") for mode in SERVICES["aws"][service].modes]
ROWS = catalogue.table("aws").machines


@pytest.mark.parametrize("service", services_of("aws"))
def test_every_pool_has_a_plan(yard: MakeYard, service: str) -> None:
    sold = [(name, mode) for name, (each, mode) in product(ROWS, KINDS) if each == service and mode in ROWS[name].modes]
    found = {f"p{number}": kind for number, kind in enumerate(sold)}

    def program() -> None:
        network = Network("net", {"zones": ["us-east-1a"], "egress": "endpoints"}, tags=TAGS)
        Bucket("runs", {"on_destroy": "delete"}, tags=TAGS)
        for name, (machine, mode) in found.items():
            nodes = 2 if mode in SERVICES["aws"][service].multi_node_modes else 1
            zone = {"zone": "us-east-1a"} if SERVICES["aws"][service].zone == "required" else {}
            spec = {"machine": machine, "service": service, "max_nodes": nodes, "capacity": CAPACITY[mode], **zone}
            GpuPool(name, spec, network=network, tags=TAGS)

    plan = make_plan(yard(program), NOW)
    assert not plan.refused, [verdict.findings for verdict in plan.policy if verdict.outcome == "violated"]
    assert {line.name for line in plan.money.lines} - {"disks"} == {*found, "standing"}
    assert {fabric.pool for fabric in plan.fabric} == set(found)
    assert {pool for need in plan.quota for pool in need.pools} == set(found)
    for line in plan.money.lines:
        if line.name not in ("disks", "standing"):
            machine, mode = found[line.name]
            listed = SERVICES["aws"][service].list_prices and mode != "capacity_block" and "us-east-1" in ROWS[machine].prices
            assert (line.full.high is not None) == listed  # without a list price, the cost has no upper bound
            assert line.note is not None or mode == "on_demand"
