"""Private endpoints to buckets, workspace and registry, from the pools' networks and from Azure ML's managed network."""

from __future__ import annotations

from typing import Any

import pytest

from gpuyard.components.azure import Bucket, GpuPool, JobService, Network
from tests.helpers.azure_sample_yard import CLUSTER, DATA, TAGS, VMS, declare, kinds, token


def endpoints(recorded: Any) -> list[str]:
    """Return the names of the private endpoints in the pools' networks."""
    return [line.partition(" ")[2] for line in kinds(recorded) if line.startswith("PrivateEndpoint")]


@pytest.mark.parametrize(
    ("open_to", "default", "own_rule"),
    [((), "Deny", False), (("203.0.112.0/24",), "Deny", True), (("internet",), "Allow", False)],
)
def test_workspace_storage_has_the_network_rules_of_the_run_bucket(
    record: Any, open_to: tuple[str, ...], default: str, own_rule: bool
) -> None:
    recorded = record(lambda: declare(open_to=open_to))
    runs, logs = (recorded.inputs(token("storage:StorageAccount"), name) for name in ("runs-account", "train-workspace-storage"))
    assert (logs["publicNetworkAccess"], logs["networkRuleSet"]) == (runs["publicNetworkAccess"], runs["networkRuleSet"])
    assert logs["networkRuleSet"]["defaultAction"] == default
    assert logs["allowSharedKeyAccess"] is False
    found = kinds(recorded, "train")
    assert ("PrivateEndpoint train-net-workspace-storage-blob" in found) is (not open_to)  # else through the public endpoint
    assert (
        "ManagedNetworkSettingsRule train-door-workspace-storage" in found
    ) is own_rule  # else Azure makes the rule, or the internet is used
    assert ("RoleAssignment train-may-connect-workspace-storage" in found) is own_rule
    approved = record(lambda: declare(open_to=open_to, isolation="approved"))
    assert "ManagedNetworkSettingsRule train-door-workspace-storage" not in kinds(approved)  # Azure makes the rule


def test_every_network_of_a_pool_gets_endpoints_to_closed_resources(record: Any) -> None:
    def program() -> None:
        one, two = (Network(name, {"zones": ["1"]}, tags=TAGS) for name in ("one", "two"))
        pools = [GpuPool("h100", CLUSTER, network=one, tags=TAGS), GpuPool("more", CLUSTER, network=two, tags=TAGS)]
        JobService("train", pools=pools, writes=[Bucket("runs", tags=TAGS)], registry="premium", tags=TAGS)

    recorded = record(program)
    shared = [f"{network}-{end}" for network in ("one", "two") for end in ("runs-blob", "runs-dfs")]
    own = [f"train-{network}-{end}" for network in ("one", "two") for end in ("registry", "workspace", "workspace-storage-blob")]
    assert endpoints(recorded) == sorted([*shared, *own])
    registry = recorded.inputs(token("network:PrivateEndpoint"), "train-two-registry")
    assert registry["privateLinkServiceConnections"][0]["groupIds"] == ["registry"]
    zones = [recorded.inputs(token("privatedns:PrivateZone"), f"{network}-registry") for network in ("one", "two")]
    assert {zone["privateZoneName"] for zone in zones} == {"privatelink.azurecr.io"}
    assert len({zone["resourceGroupName"] for zone in zones}) == 2  # a resource group holds one zone of each name


@pytest.mark.parametrize(
    ("open_to", "rules"),
    [(None, []), (["internet"], []), ([], ["train-door-text"]), (["203.0.112.0/24"], ["train-door-text"])],
)
def test_an_adopted_bucket_gets_endpoints_unless_open_to_the_internet(record: Any, open_to: list[str] | None, rules: list[str]) -> None:
    def program() -> None:
        network = Network("net", {"zones": ["1"]}, tags=TAGS)
        pools = [GpuPool(name, spec, network=network, tags=TAGS) for name, spec in (("h100", CLUSTER), ("lab", VMS))]
        data = [Bucket.adopt(name, bucket=DATA.replace("/nlp", f"/{name}"), open_to=open_to, tags=TAGS) for name in ("text", "images")]
        JobService("train", pools=pools, writes=[Bucket("runs", tags=TAGS)], reads=data, tags=TAGS)

    recorded = record(program)
    found = kinds(recorded, "train")
    made = [line.partition(" ")[2] for line in found if line.startswith("ManagedNetworkSettingsRule")]
    assert made == ["train-door-runs", *rules]  # one for the account with both containers
    assert ("RoleAssignment train-may-connect-text" in found) is bool(rules)
    own = [name for name in endpoints(recorded) if name.startswith(("net-text", "net-images"))]
    assert own == (["net-text-blob", "net-text-dfs"] if rules else [])


@pytest.mark.parametrize("open_to", [None, ["internet"]])
def test_with_approved_egress_clusters_get_endpoints_to_every_bucket(record: Any, open_to: list[str] | None) -> None:
    def program() -> None:
        pool = GpuPool("h100", CLUSTER, network=Network("net", {"zones": ["1"]}, tags=TAGS), tags=TAGS)
        data = Bucket.adopt("data", bucket=DATA, open_to=open_to, tags=TAGS)
        runs = Bucket("runs", {"open_to": ["internet"]}, tags=TAGS)
        JobService("train", pools=[pool], writes=[runs], reads=[data], isolation="approved", tags=TAGS)

    recorded = record(program)
    rules = [line.partition(" ")[2] for line in kinds(recorded, "train") if line.startswith("ManagedNetworkSettingsRule")]
    assert rules == ["train-door-data", "train-door-runs"]
    assert endpoints(recorded) == []  # the pools' network uses the public endpoints


@pytest.mark.parametrize("services", [("one", "two"), ("two", "one"), ("two",)])
def test_job_services_share_the_endpoints_of_a_shared_bucket(record: Any, services: tuple[str, ...]) -> None:
    def program() -> None:
        network = Network("net", {"zones": ["1"]}, tags=TAGS)
        data = Bucket("data", tags=TAGS)
        for name in services:
            pool = GpuPool(f"{name}-lab", VMS, network=network, tags=TAGS)
            JobService(f"of-{name}", pools=[pool], writes=[Bucket(f"{name}-runs", tags=TAGS)], reads=[data], tags=TAGS)

    recorded = record(program)
    buckets = ["data", *sorted(f"{name}-runs" for name in services)]
    assert endpoints(recorded) == [f"net-{bucket}-{service}" for bucket in buckets for service in ("blob", "dfs")]
    parents = {recorded.one(token("network:PrivateEndpoint"), name).parent.rpartition("::")[2] for name in endpoints(recorded)}
    assert parents == {"net"}  # so removing one job service leaves the endpoints of the other


def test_clusters_get_endpoints_to_both_subresources_of_a_hierarchical_bucket(record: Any) -> None:
    def program() -> None:
        pool = GpuPool("h100", CLUSTER, network=Network("net", {"zones": ["1"]}, tags=TAGS), tags=TAGS)
        JobService("train", pools=[pool], writes=[Bucket("runs", namespace="hierarchical", tags=TAGS)], tags=TAGS)

    recorded = record(program)
    rule = token("machinelearningservices:ManagedNetworkSettingsRule")
    found = {name: recorded.inputs(rule, name)["properties"]["destination"] for name in ("train-door-runs", "train-door-runs-dfs")}
    assert [destination["subresourceTarget"] for destination in found.values()] == ["blob", "dfs"]
    assert len({destination["serviceResourceId"] for destination in found.values()}) == 1
