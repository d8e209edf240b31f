"""The catalogue: complete rows with sources, figures equal to a reference, look-ups with suggestions."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from gpuyard.components import catalogue

AWS = catalogue.table("aws")
# machine: GPUs, vCPU, memory GiB, NVMe GB, Gb/s, cards, EFA, USD per hour on demand in us-east-1 (gpu-infra's table of 2026-07-20)
REFERENCE = {
    "g5.xlarge": (1, 4, 16, 250, 2.5, 1, 0, 1.006),
    "g5.12xlarge": (4, 48, 192, 3800, 40, 1, 1, 5.672),
    "g5.48xlarge": (8, 192, 768, 7600, 100, 1, 1, 16.288),
    "g6.xlarge": (1, 4, 16, 250, 2.5, 1, 0, 0.8048),
    "g6.12xlarge": (4, 48, 192, 3760, 40, 1, 1, 4.6016),
    "g6.48xlarge": (8, 192, 768, 7520, 100, 1, 1, 13.3504),
    "g6e.xlarge": (1, 4, 32, 250, 2.5, 1, 0, 1.861),
    "g6e.12xlarge": (4, 48, 384, 3800, 100, 1, 1, 10.49),
    "g6e.24xlarge": (4, 96, 768, 3800, 200, 2, 2, 15.07),
    "g6e.48xlarge": (8, 192, 1536, 7600, 400, 4, 4, 30.13),
    "g7e.2xlarge": (1, 8, 64, 1900, 50, 1, 0, 3.363),
    "g7e.48xlarge": (8, 192, 2048, 15200, 1600, 4, 4, 33.144),
    "p4d.24xlarge": (8, 96, 1152, 8000, 400, 4, 4, 21.958),
    "p4de.24xlarge": (8, 96, 1152, 8000, 400, 4, 4, 27.447),
    "p5.4xlarge": (1, 16, 256, 3800, 100, 1, 1, 6.88),
    "p5.48xlarge": (8, 192, 2048, 30400, 3200, 32, 32, 55.04),
    "p5e.48xlarge": (8, 192, 2048, 30400, 3200, 32, 32, None),
    "p5en.48xlarge": (8, 192, 2048, 30400, 3200, 16, 16, 63.296),
    "p6-b200.48xlarge": (8, 192, 2048, 30400, 3200, 8, 8, 113.933),
    "p6-b300.48xlarge": (8, 192, 4096, 30400, 6400, 17, 16, 142.416),
}


def test_the_catalogue_has_the_machines_of_the_reference() -> None:
    assert set(AWS.machines) == set(REFERENCE)


@pytest.mark.parametrize("name", REFERENCE)
def test_a_row_equals_its_reference(name: str) -> None:
    row = AWS.machines[name]
    *figures, usd = REFERENCE[name]
    assert [row.gpus, row.vcpus, row.memory_gib, row.local_nvme_gb, row.network_gbps, row.network_cards, row.fast_nics] == figures
    rate = row.rate("us-east-1", "on_demand", "batch")
    assert (rate and rate.usd_per_hour) == (usd and pytest.approx(usd, abs=0.005))


@pytest.mark.parametrize("name", REFERENCE)
def test_a_row_is_complete(name: str) -> None:
    row = AWS.machines[name]
    assert row.source in AWS.sources
    assert (row.transport is None) == (row.fast_nics == 0)
    assert row.fast_nics <= row.network_cards
    assert set(row.quotas) == {"on_demand", "spot"}
    assert all(quota.unit == "vCPU" and quota.per_node == row.vcpus for quota in row.quotas.values())
    assert all(rate.source in AWS.sources for modes in row.prices.values() for rate in modes.values())
    assert all("spot" not in modes for modes in row.prices.values())  # spot prices change, so a snapshot is not listed


def test_quota_codes_belong_to_the_machine_family() -> None:
    codes = {name: (row.quotas["on_demand"].code, row.quotas["spot"].code) for name, row in AWS.machines.items()}
    assert codes["g6.12xlarge"] == ("L-DB2E81BA", "L-3819A6DF")
    assert codes["p4de.24xlarge"] == ("L-417A185B", "L-7212CCBC")
    assert codes["p5en.48xlarge"] == ("L-417A185B", "L-C4BD4855")
    assert codes["p6-b300.48xlarge"] == ("L-417A185B", None)  # sources differ: unknown, not guessed


def test_sagemaker_runs_the_machines_that_its_model_names() -> None:
    found = find_spec("botocore")
    assert found is not None
    assert found.origin is not None
    model = json.loads(gzip.decompress(next(Path(found.origin).parent.glob("data/sagemaker/*/service-2.json.gz")).read_bytes()))
    known = {name.removeprefix("ml.") for name in model["shapes"]["TrainingInstanceType"]["enum"]}
    assert {name for name, row in AWS.machines.items() if "sagemaker" in row.services} == set(AWS.machines) & known


def test_other_resources_have_a_price_and_a_source() -> None:
    assert set(AWS.items) == {"nat_gateway", "public_ipv4", "interface_endpoint", "kms_key"}
    assert all(rate.source in AWS.sources for rates in AWS.items.values() for rate in rates.values())
    for each in map(catalogue.table, catalogue.clouds()):
        assert all(rate.source in each.sources for rates in each.disks.values() for rate in rates.values())


def test_the_default_floor_follows_the_published_all_reduce() -> None:
    floors = {row.name: row.default_floor for cloud in catalogue.clouds() for row in catalogue.table(cloud).machines.values()}
    assert {name: floor for name, floor in floors.items() if floor is not None} == {
        "p4d.24xlarge": 0.7,  # 77.9 of 50 GB/s: two nodes exceed the line rate
        "p5.48xlarge": 0.525,
        "a3-megagpu-8g": 0.304,  # 87 of 200 GB/s
        "Standard_ND96isr_H100_v5": 0.7,
    }
    for each in map(catalogue.table, catalogue.clouds()):
        assert all(row.all_reduce.source in each.sources for row in each.machines.values() if row.all_reduce)


def test_a_disk_costs_as_much_as_its_size_or_the_next_that_is_sold() -> None:
    gp3, premium = AWS.disk("gp3", "us-east-1"), catalogue.table("azure").disk("Premium_LRS", "eastus")
    assert gp3 is not None
    assert premium is not None
    assert gp3.usd_per_hour(200) == pytest.approx((200 * 0.08 + 15) / 730)
    assert premium.usd_per_hour(200) == pytest.approx(38.02 / 730)
    assert premium.usd_per_hour(2048) is None
    assert AWS.disk(None, "us-east-1") is None
    assert AWS.disk("gp3", "eu-central-1") is None
    nat, key = AWS.item("nat_gateway", "us-east-1"), AWS.item("kms_key", "eu-south-2")
    assert nat is not None
    assert nat.usd_per_hour == 0.045
    assert key is not None
    assert key.usd_per_hour * 730 == pytest.approx(1, rel=1e-5)
    assert AWS.item("nat_gateway", "eu-south-2") is None
    assert AWS.item("nothing", "us-east-1") is None


def test_a_price_without_a_source_is_unknown() -> None:
    row = catalogue.machine("p5.48xlarge")
    assert row.rate("us-east-1", "spot", "batch") is None
    assert row.rate("us-east-1", "capacity_block", "vms") is None
    assert row.rate("us-east-1", "on_demand", "sagemaker") is None  # SageMaker has its own rates
    assert row.rate("mars-1", "on_demand", "batch") is None
    assert row.rate(None, "on_demand", "batch") is None
    reserved = row.rate("us-east-1", "reservation", "batch")
    assert reserved == row.rate("us-east-1", "on_demand", "batch")
    assert reserved is not None


def test_machines_are_found_by_name_and_by_accelerator() -> None:
    assert {"aws", "azure", "gcp"} <= set(catalogue.clouds())
    assert catalogue.machine("g6.12xlarge", ("aws",)).accelerator == "L4"
    assert [row.name for row in catalogue.with_accelerator("aws", "h100", 8)] == ["p5.48xlarge"]
    assert [row.name for row in catalogue.with_accelerator("aws", "A100", 8)] == ["p4d.24xlarge", "p4de.24xlarge"]
    assert catalogue.with_accelerator("aws", "H100", 3) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [("p5.48xlrge", "did you mean p5.48xlarge"), ("g6.12large", "did you mean g6.12xlarge"), ("??", "known: g5.12xlarge, g5.48xlarge")],
)
def test_an_unknown_machine_is_reported_with_similar_names(name: str, hint: str) -> None:
    with pytest.raises(catalogue.UnknownMachineError) as caught:
        catalogue.machine(name, ("aws",))
    assert str(caught.value).startswith(hint)


def test_a_search_in_one_cloud_finds_no_machine_of_another() -> None:
    with pytest.raises(catalogue.UnknownMachineError):
        catalogue.machine("g6.12xlarge", ("gcp",))
