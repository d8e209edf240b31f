"""Fields of AWS's job targets: fabric, price, end, memory, SageMaker settings."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gpuyard.components.aws.job_targets import TargetContext, reservable_mib, sagemaker_target
from gpuyard.components.aws.policy import ArnScope
from gpuyard.components.catalogue import table
from gpuyard.components.job_targets import JobSettings, available_until, fabric, price
from gpuyard.components.naming import job_prefix
from gpuyard.components.spec import GpuPoolSpec, LimitsSpec
from gpuyard.training_jobs.target import SageMakerTarget, parse_target
from tests.helpers.aws_sample_yard import BATCH

H100 = table("aws").machines["p5.48xlarge"]


def pool(**change: Any) -> GpuPoolSpec:
    return GpuPoolSpec.model_validate({**BATCH, "machine": "p5.48xlarge", **change})


def test_only_several_nodes_with_fast_cards_have_a_fabric() -> None:
    assert fabric(pool(fabric_floor=0.5), H100) == {"transport": "NET/OFI", "line_rate_gbps": 3200, "floor": 0.5}
    assert fabric(pool(), H100) == {"transport": "NET/OFI", "line_rate_gbps": 3200, "floor": 0.525}  # 0.7 of the published 300 GB/s
    p5en = table("aws").machines["p5en.48xlarge"]
    assert fabric(pool(), p5en) == {"transport": "NET/OFI", "line_rate_gbps": 3200, "floor": None}  # nothing published: a warning only
    assert fabric(pool(fabric_floor=0.7), p5en) == {"transport": "NET/OFI", "line_rate_gbps": 3200, "floor": 0.7}
    assert fabric(pool(max_nodes=1), H100) is None
    assert fabric(pool(), H100.model_copy(update={"fast_nics": 0, "transport": None})) is None


BLOCK = {"mode": "capacity_block", "reservation": "cr-0a", "ends": "2026-12-19T11:30:00Z"}


@pytest.mark.parametrize(
    ("change", "region", "usd", "source"),
    [
        ({}, "us-east-1", 55.04, "on-demand list price"),
        ({"capacity": {"mode": "reservation", "reservation": "cr-0a"}}, "us-east-1", 55.04, "2026-07-20"),
        ({"price_usd_per_hour": 0.0}, "us-east-1", 0.0, "the pool's price_usd_per_hour"),
        ({}, "mars-1", None, "no price known for p5.48xlarge in mars-1, on_demand on batch: set price_usd_per_hour"),
        ({"capacity": BLOCK}, "us-east-1", None, "capacity_block on batch"),
        ({"service": "sagemaker"}, "us-east-1", None, "on_demand on sagemaker"),
    ],
)
def test_a_price_has_a_source_or_a_reason(change: dict[str, Any], region: str, usd: float | None, source: str) -> None:
    found = price(pool(**change), H100, region)
    assert found["usd_per_node_hour"] == usd
    assert source in found["source"]


@pytest.mark.parametrize(
    ("capacity", "expires", "until"),
    [
        ("on_demand", None, None),
        ("on_demand", "never", None),
        ("on_demand", "2027-03-31", "2027-03-31T00:00:00Z"),
        (BLOCK, "2027-03-31", "2026-12-19T10:50:00Z"),
        (BLOCK, "2026-12-01", "2026-12-01T00:00:00Z"),
    ],
)
def test_machines_are_available_until_the_earlier_end(capacity: Any, expires: str | None, until: str | None) -> None:
    assert available_until(pool(capacity=capacity), expires) == until


def target(**fields: Any) -> dict[str, Any]:
    settings = JobSettings("gpuyard/dev", LimitsSpec(), {}, None, {})
    yard = TargetContext(ArnScope("111122223333", "us-east-1", "aws"), settings, "s3://runs", {"runs": "s3://runs"}, None)
    network: dict[str, Any] = {"subnet_ids": ["subnet-0a"], "security_group_id": "sg-0a"}
    return sagemaker_target("p", pool(service="sagemaker", **fields), None, yard, role="r", **network, model_package_group="m")


def test_the_target_has_the_pools_sagemaker_settings() -> None:
    assert (target()["keep_alive_s"], target()["network_isolation"]) == (0, False)
    warm = parse_target(target(keep_alive_minutes=30, network_isolation=True))
    assert isinstance(warm, SageMakerTarget)
    assert (warm.keep_alive_s, warm.network_isolation) == (1800, True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keep_alive_minutes": 30}, "0 for service: batch"),
        ({"service": "sagemaker", "capacity": "spot", "keep_alive_minutes": 30}, "0 for service: sagemaker with capacity: spot"),
        ({"service": "sagemaker", "keep_alive_minutes": 361}, "less than or equal to 360"),
        ({"network_isolation": True}, "false for service: batch"),
        ({"encrypt_between_nodes": True}, "none for service: batch"),
    ],
)
def test_settings_that_the_service_does_not_support_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        pool(**fields)


def test_a_job_does_not_reserve_the_hosts_memory() -> None:
    for machine in table("aws").machines.values():
        share = reservable_mib(machine.memory_gib) / (machine.memory_gib * 1024)
        assert 0.93 < share < 1 - 1 / 64


def test_each_stack_has_another_job_prefix() -> None:
    assert job_prefix("gpuyard/dev") != job_prefix("gpuyard/prod")
    assert len(job_prefix("gpuyard/dev")) == 17


@pytest.mark.parametrize(
    ("fields", "encrypts"),
    [({}, False), ({"machine": "g5.xlarge"}, True), ({"encrypt_between_nodes": True}, True)],
)
def test_traffic_between_nodes_is_encrypted_where_efa_does_not_bypass_it(fields: dict[str, Any], encrypts: bool) -> None:
    assert target(**fields)["encrypt_between_nodes"] is encrypts
