"""Each resource's region is its provider's: prices, quota, the zone rules and the JSON follow it; an unknown region has no prices."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_azure_native as az
import pulumi_gcp as gcp
import pytest

import gpuyard.azure
import gpuyard.gcp
from gpuyard.components.aws import Bucket, GpuPool, JobService, Network
from gpuyard.components.planning import render
from gpuyard.components.planning.plan import make_plan
from gpuyard.components.planning.recorder import record
from gpuyard.components.planning.regions import default_regions
from gpuyard.components.planning.yard import RecordedYard

from .conftest import L4, TAGS

NOW = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)
CONFIG = {"aws:region": "us-east-1", "gcp:region": "us-central1", "azure-native:location": "eastus"}
EU = {**L4, "zone": "eu-central-1a"}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., RecordedYard]:
    def make(program: Callable[[], Any], config: dict[str, str] = CONFIG) -> RecordedYard:
        recording = record(program, project="acme", stack="dev", config=config, root=tmp_path)
        return RecordedYard("acme", "dev", default_regions(config), recording)

    return make


Read = Callable[..., RecordedYard]


def pool_in(provider: pulumi.ProviderResource | None, **spec: Any) -> None:
    """Declare a network and a pool of a provider."""
    opts = pulumi.ResourceOptions(provider=provider) if provider else None
    network = Network("eu-net", {"zones": ["eu-central-1a"]}, tags=TAGS, opts=opts)
    GpuPool("eu", {**EU, **spec}, network=network, tags=TAGS, opts=opts)


def two_regions() -> None:
    pool_in(aws.Provider("eu-provider", region="eu-central-1"))
    network = Network("net", {"zones": ["us-east-1a"]}, tags=TAGS)
    GpuPool("us", L4, network=network, tags=TAGS)


def test_a_pool_of_another_provider_has_that_region_s_prices_and_quota(read: Read) -> None:
    plan = make_plan(read(two_regions), NOW)
    lines = {line.name: line for line in plan.money.lines}
    assert lines["us"].full.low == pytest.approx(9.2032)
    assert (lines["eu"].region, lines["eu"].full.high) == ("eu-central-1", None)
    assert lines["eu"].note == "no list price in eu-central-1; set price_usd_per_hour"
    assert [(need.region, need.amount, need.pools) for need in plan.quota] == [("eu-central-1", 96, ["eu"]), ("us-east-1", 96, ["us"])]
    assert {name for name in lines if "standing" in name} == {"standing, eu-central-1", "standing, us-east-1"}
    assert plan.region == "eu-central-1 and us-east-1"
    assert [verdict.findings for verdict in plan.policy if verdict.rule == "one-region"] == [[]]


def test_a_provider_without_a_region_does_not_have_the_stack_s(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    (pool,) = read(lambda: pool_in(aws.Provider("other", profile="other"))).pools
    assert pool.region is None


def test_a_job_service_in_another_region_than_its_pool_is_refused(read: Read) -> None:
    def program() -> None:
        opts = pulumi.ResourceOptions(provider=aws.Provider("eu-provider", region="eu-central-1"))
        network = Network("net", {"zones": ["eu-central-1a"]}, tags=TAGS, opts=opts)
        pool = GpuPool("eu", EU, network=network, tags=TAGS, opts=opts)
        JobService("train", pools=[pool], writes=[Bucket("runs", {}, tags=TAGS)], tags=TAGS)

    plan = make_plan(read(program), NOW)
    (found,) = [verdict for verdict in plan.policy if verdict.rule == "one-region"]
    assert plan.refused
    assert found.findings == [
        "train: job service in us-east-1, its pool eu in eu-central-1; give both the same provider, or make one job service for each region"
    ]


@pytest.mark.parametrize(
    ("provider", "found"),
    [
        ({"region": "eu-west-1"}, ["eu: zone eu-central-1a is not in eu-west-1", "eu-net: zone eu-central-1a is not in eu-west-1"]),
        ({"region": "eu-central-1"}, []),
    ],
)
def test_a_zone_outside_its_provider_s_region_is_refused(read: Read, provider: dict[str, str], found: list[str]) -> None:
    yard = read(lambda: pool_in(aws.Provider("other", **provider)))
    (verdict,) = [verdict for verdict in make_plan(yard, NOW).policy if verdict.rule == "one-region"]
    assert [text.partition(", ")[0] for text in verdict.findings] == found


def test_an_unknown_region_is_a_warning(read: Read) -> None:
    plan = make_plan(read(lambda: pool_in(None), {}), NOW)
    (verdict,) = [verdict for verdict in plan.policy if verdict.rule == "one-region"]
    assert (plan.region, verdict.outcome) == (None, "warning")
    assert verdict.findings == ["eu: the region is unknown, so prices are unknown too; set aws:region, or the provider's region"]


def test_a_pool_in_another_region_than_its_network_is_refused(read: Read) -> None:
    def program() -> None:
        network = Network("net", {"zones": ["us-east-1a"]}, tags=TAGS)
        opts = pulumi.ResourceOptions(provider=aws.Provider("eu-provider", region="eu-central-1"))
        GpuPool("far", L4, network=network, tags=TAGS, opts=opts)

    (verdict,) = [verdict for verdict in make_plan(read(program), NOW).policy if verdict.rule == "one-region"]
    assert "far: pool in eu-central-1, its network net in us-east-1; give both the same provider" in verdict.findings


def raw(cloud: str, provider: dict[str, Any], inputs: dict[str, Any]) -> None:
    """Declare one resource of a cloud, with its own provider if there are settings for one."""
    make: dict[str, Any] = {
        "aws": lambda opts: aws.sqs.Queue("q", **inputs, opts=opts),
        "gcp": lambda opts: gcp.compute.Address("q", **inputs, opts=opts),
        "azure": lambda opts: az.network.PublicIPAddress("q", resource_group_name="g", **inputs, opts=opts),
    }
    providers: dict[str, Any] = {"aws": aws.Provider, "gcp": gcp.Provider, "azure": az.Provider}
    opts = pulumi.ResourceOptions(provider=providers[cloud]("p", **provider)) if provider else None
    make[cloud](opts)


@pytest.mark.parametrize(
    ("cloud", "provider", "inputs", "region"),
    [
        ("aws", {}, {}, "us-east-1"),
        ("aws", {"region": "eu-west-1"}, {}, "eu-west-1"),
        ("aws", {"region": "eu-west-1"}, {"region": "eu-west-3"}, "eu-west-3"),
        ("gcp", {}, {}, "us-central1"),
        ("gcp", {"project": "p", "zone": "europe-west4-b"}, {}, "europe-west4"),
        ("gcp", {"project": "p", "region": "europe-west4"}, {}, "europe-west4"),
        ("gcp", {}, {"region": "europe-west1"}, "europe-west1"),
        ("azure", {}, {}, "eastus"),
        ("azure", {"location": "West Europe"}, {}, "westeurope"),
        ("azure", {}, {"location": "swedencentral"}, "swedencentral"),
        ("azure", {"location": "westus3"}, {"location": "Global"}, "westus3"),
    ],
)
def test_the_region_of_a_raw_resource(read: Read, cloud: str, provider: dict[str, Any], inputs: dict[str, Any], region: str) -> None:
    (found,) = [each.region for each in read(lambda: raw(cloud, provider, inputs)).resources if each.name == "q"]
    assert found == region


def test_a_default_zone_of_gcp_sets_the_region() -> None:
    assert default_regions({"gcp:zone": "us-central1-a"}) == {"aws": None, "azure": None, "gcp": "us-central1"}


def mega_pool(provider: dict[str, str], zone: str = "us-east4-a") -> None:
    """Declare a pool of machines on GCP in us-central1, and one with a provider of its own."""
    opts = pulumi.ResourceOptions(provider=gcp.Provider("own", project="acme", **provider)) if provider else None
    mega = {"machine": "a3-megagpu-8g", "max_nodes": 1, "service": "vms"}
    here = gpuyard.gcp.Network("net", {"zones": ["us-central1-a"]}, tags=TAGS)
    there = gpuyard.gcp.Network("own-net", {"zones": [zone]}, tags=TAGS, opts=opts)
    gpuyard.gcp.GpuPool("here", {**mega, "zone": "us-central1-a"}, network=here, tags=TAGS)
    gpuyard.gcp.GpuPool("there", {**mega, "zone": zone}, network=there, tags=TAGS, opts=opts)


def test_quota_of_an_unknown_region_is_not_listed_under_a_known_one(read: Read) -> None:
    plan = make_plan(read(lambda: mega_pool({"access_token": "t"})), NOW)
    text = render.text(plan)
    assert "quota to request\n" in text
    (known,) = [line for line in text.splitlines() if line.endswith("us-central1") and "NVIDIA_H100_MEGA" in line]
    (unknown,) = [line for line in text.splitlines() if line.endswith("region not known") and "NVIDIA_H100_MEGA" in line]
    assert "8 GPU" in known
    assert "8 GPU" in unknown
    assert [need.name for need in plan.quota if need.all_regions] == ["GPUs of all regions together"]
    assert "1 x root disk of 200 GiB (pd-ssd) in an unknown region" in plan.money.not_priced


def test_a_pool_of_gcp_follows_its_own_provider(read: Read) -> None:
    plan = make_plan(read(lambda: mega_pool({"region": "us-east4"})), NOW)
    lines = {line.name: line for line in plan.money.lines}
    assert (lines["there"].region, lines["there"].full.high) == ("us-east4", 92.938)
    assert lines["here"].note == "no list price in us-central1; set price_usd_per_hour"
    assert {(need.region, *need.pools) for need in plan.quota if need.region} == {("us-central1", "here"), ("us-east4", "there")}
    assert plan.money.not_priced == ["1 x root disk of 200 GiB (pd-ssd) in us-east4"]
    assert not plan.refused


def test_a_zone_of_a_region_whose_name_is_longer_is_refused(read: Read) -> None:
    plan = make_plan(read(lambda: mega_pool({"region": "europe-west1"}, "europe-west12-a")), NOW)
    (verdict,) = [verdict for verdict in plan.policy if verdict.rule == "one-region"]
    assert verdict.findings[0].startswith("there: zone europe-west12-a is not in europe-west1, ")


def test_a_pool_of_azure_follows_its_own_provider(read: Read) -> None:
    def program() -> None:
        opts = pulumi.ResourceOptions(provider=az.Provider("own", location="West US 3"))
        network = gpuyard.azure.Network("net", {"zones": ["1"]}, tags=TAGS, opts=opts)
        h200 = {"machine": "Standard_ND96isr_H200_v5", "max_nodes": 1, "service": "azureml"}
        pool = gpuyard.azure.GpuPool("h200", h200, network=network, tags=TAGS, opts=opts)
        runs = gpuyard.azure.Bucket("runs", {}, tags=TAGS)
        gpuyard.azure.JobService("train", pools=[pool], writes=[runs], tags=TAGS)

    plan = make_plan(read(program), NOW)
    (line,) = [line for line in plan.money.lines if line.name == "h200"]
    assert (line.region, line.full.high) == ("westus3", 84.8)
    assert plan.region == "eastus and westus3"
    (verdict,) = [verdict for verdict in plan.policy if verdict.rule == "one-region"]
    assert "train: job service in eastus, its pool h200 in westus3" in verdict.findings[0]
