"""The GCP rows of the catalogue: figures of the reference, a source for each price, accelerator types of Vertex AI, the global quota."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from gpuyard.components import catalogue
from gpuyard.components.gcp.fabric import FABRICS
from gpuyard.components.gcp.machines import _FAMILIES, fabric_of, family, image_family
from gpuyard.components.job_targets import fabric
from gpuyard.components.spec.fields import in_cloud
from gpuyard.components.spec.pool import GpuPoolSpec
from tools.python_source import parse_source

GCP = catalogue.table("gcp")
# machine: GPUs, vCPU, memory GB, USD per hour on demand where the table of 2026-08-03 lists it (us-central1; A3 Mega us-east4)
REFERENCE = {
    "g2-standard-8": (1, 8, 32, 0.854),
    "g2-standard-48": (4, 48, 192, 4.002),
    "g2-standard-96": (8, 96, 384, 8.003),
    "g4-standard-48": (1, 48, 180, 4.5),
    "g4-standard-384": (8, 384, 1440, 35.999),
    "a2-highgpu-1g": (1, 12, 85, 3.673),
    "a2-highgpu-8g": (8, 96, 680, 29.387),
    "a2-ultragpu-1g": (1, 12, 170, 5.069),
    "a2-ultragpu-8g": (8, 96, 1360, 40.55),
    "a3-highgpu-1g": (1, 26, 234, 11.061),
    "a3-highgpu-2g": (2, 52, 468, 22.122),
    "a3-highgpu-4g": (4, 104, 936, 44.245),
    "a3-highgpu-8g": (8, 208, 1872, 88.49),
    "a3-megagpu-8g": (8, 208, 1872, 92.938),
    "a3-ultragpu-8g": (8, 224, 2952, 86.76),
    "a4-highgpu-8g": (8, 224, 3968, None),
    "a4x-highgpu-4g": (4, 140, 884, None),
    "a4x-maxgpu-4g-metal": (4, 144, 960, None),
}


def test_the_catalogue_has_the_machines_of_the_reference() -> None:
    assert set(GCP.machines) == set(REFERENCE)


@pytest.mark.parametrize("name", REFERENCE)
def test_a_row_has_the_figures_of_the_reference_and_every_source(name: str) -> None:
    row = GCP.machines[name]
    *figures, usd = REFERENCE[name]
    assert [row.gpus, row.vcpus, row.memory_gib] == figures
    listed = [modes["on_demand"].usd_per_hour for modes in row.prices.values()]
    assert listed == ([] if usd is None else [usd])
    assert row.source in GCP.sources
    assert all(rate.source in GCP.sources for modes in row.prices.values() for rate in modes.values())
    assert not [
        modes for modes in row.prices.values() if set(modes) != {"on_demand"}
    ]  # spot prices and flex-start rates change, so they are not listed
    assert (row.transport is None) == (row.fast_nics == 0)
    assert all(quota.unit == "GPU" and quota.per_node == row.gpus for quota in row.quotas.values())
    assert fabric_of(row) is None or fabric_of(row) in FABRICS
    assert ("arm64" in image_family(row)) == (row.architecture == "arm64")


FAST = [row for row in GCP.machines.values() if row.fast_nics]


@pytest.mark.parametrize("row", FAST, ids=lambda row: row.name)
def test_the_fabric_is_the_cards_of_the_gpus_alone(row: catalogue.Machine) -> None:
    """The host's own card is not part of it: with it, the floor of A3 High and A3 Mega would be too high by 25 and 12 %."""
    assert row.fabric_line_gbps is not None
    assert row.fabric_line_gbps / row.fast_nics in (200, 400)


@pytest.mark.parametrize(
    ("machine", "rate", "floor"), [("a3-highgpu-8g", 800, None), ("a3-megagpu-8g", 1600, 0.304), ("a3-ultragpu-8g", 3200, None)]
)
def test_the_preflight_compares_with_the_gpus_network(machine: str, rate: float, floor: float | None) -> None:
    spec = GpuPoolSpec.model_validate(
        {"machine": machine, "zone": "us-central1-a", "max_nodes": 2, "service": "vms", "capacity": "spot"}, context=in_cloud("gcp")
    )
    expected = fabric(spec, GCP.machines[machine])
    assert expected is not None
    assert (expected["line_rate_gbps"], expected["floor"]) == (rate, floor)


def test_flex_start_is_not_listed_as_on_demand() -> None:
    row = catalogue.machine("a3-highgpu-8g")
    rate = row.rate("us-central1", "on_demand", "vms")
    assert rate is not None
    assert rate.usd_per_hour / row.gpus == pytest.approx(11.06, abs=0.01)  # the flex-start rate is 4.20
    assert row.rate("us-central1", "flex_start", "vms") is None
    assert row.rate("us-central1", "on_demand", "vertex") is None  # Vertex AI has its own rates


def test_accelerator_types_exist_in_vertex_ai() -> None:
    found = find_spec("google.cloud.aiplatform_v1")
    assert found is not None
    assert found.origin is not None
    source = parse_source((Path(found.origin).parent / "types" / "accelerator_type.py").read_text(encoding="utf-8"))
    words = {node.targets[0].id for node in ast.walk(source) if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
    for row in GCP.machines.values():
        assert (family(row).accelerator in words) == ("vertex" in row.services)


def test_every_family_has_a_machine_in_the_catalogue() -> None:
    assert {"-".join(name.split("-")[:2]) for name in GCP.machines} == set(_FAMILIES)


def test_hourly_items_have_a_price_and_a_source() -> None:
    assert set(GCP.items) == {"nat_gateway", "public_ipv4", "kms_key", "scheduler_job", "network_logs"}
    assert all(rate.source in GCP.sources for rates in GCP.items.values() for rate in rates.values())
    assert GCP.global_quota is not None
    assert GCP.global_quota.code == "GPUS-ALL-REGIONS-per-project"
