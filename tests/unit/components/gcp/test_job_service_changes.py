"""Changes of the job service: the order of its resources, no secrets, and pools that do not change each other."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from gpuyard.components.gcp import Bucket, EncryptionKey, GpuPool, JobService, Network
from tests.helpers.gcp_sample_pools import VERTEX as HELD
from tests.helpers.gcp_sample_yard import SUBNET, VERTEX, VPC, ZONE, declare


def test_targets_wait_for_the_roles_of_jobs(record: Any) -> None:
    def program() -> None:
        pulumi.ComponentResource("t:index:User", "user", {"targets": declare().targets})

    waits = {urn.rpartition("::")[2] for urn in record(program).one("t:index:User", "user").propertyDependencies["targets"].urns}
    assert waits >= {
        "train-job-reads-runs",
        "train-job-writes-runs",
        "train-job-reads-data",
        "train-job-secret-wandb",
        "train-vertex-uses-key",
        "l4-attach-network",
        "l4-attachment",
        "runs-bucket",
    }


def test_a_job_on_kept_machines_names_their_key(record: Any) -> None:
    """Vertex AI refuses a job whose key is not that of the persistent resource."""

    def program() -> None:
        network, runs = Network.adopt("net", vpc_id=VPC, subnet_ids={ZONE: SUBNET}), Bucket("runs")
        spec = {"machine": "g2-standard-48", "max_nodes": 2, "service": "vertex"}
        keyed = GpuPool("keyed", {**spec, "min_nodes": 1}, network=network, key=EncryptionKey("disks", uses=("aiplatform",)))
        plain = [GpuPool(name, {**spec, **more}, network=network) for name, more in (("kept", {"min_nodes": 1}), ("made", {}))]
        flex = GpuPool("flex", {**spec, "capacity": {"mode": "flex_start", "max_hours": 24}}, network=network)
        pulumi.export("targets", JobService("train", pools=[keyed, *plain, flex], writes=[runs]).targets)

    recorded = record(program)
    targets = recorded.exports["targets"]
    held = recorded.inputs("gcp:vertex/aiPersistentResource:AiPersistentResource", "keyed-held")
    assert targets["keyed"]["encryption_key"] == held["encryptionSpec"]["kmsKeyName"]
    assert targets["kept"]["encryption_key"] is None
    assert targets["made"]["encryption_key"] is not None
    assert {name: target["max_hours"] for name, target in targets.items()} == {"keyed": None, "kept": None, "made": None, "flex": 24}


@pytest.mark.parametrize("preview", [False, True])
def test_inputs_have_references_and_no_secrets(record: Any, preview: bool) -> None:
    recorded = record(declare, preview=preview, config={"gpuyard:token": "hunter2"}, secret=("gpuyard:token",))
    assert all("hunter2" not in str(request.object) for request in recorded.resources.values())


def test_a_second_run_registers_the_same_inputs(record: Any) -> None:
    once, again = record(declare), record(declare)
    assert {urn: request.object for urn, request in once.resources.items()} == {
        urn: request.object for urn, request in again.resources.items()
    }


def test_another_pool_does_not_change_the_first(record: Any) -> None:
    one, two = (record(lambda names=names: declare(pools=dict.fromkeys(names, VERTEX))) for names in (("a",), ("b", "a")))
    changed = {request.name for urn, request in one.resources.items() if request.object != two.resources[urn].object}
    assert changed == {"train", "train-targets"}
    new = {request.name for urn, request in two.resources.items() if urn not in one.resources}
    assert new == {name for name in new if name == "b" or name.startswith("b-")} != set()


def test_the_order_of_pools_and_submitters_changes_no_resource(record: Any) -> None:
    first, second = (record(lambda names=names: declare(pools=dict.fromkeys(names, VERTEX))) for names in (("a", "b"), ("b", "a")))
    changed = {request.name for urn, request in first.resources.items() if request.object != second.resources[urn].object}
    assert changed <= {"train", "train-targets"}  # only the order of their lists


def test_the_key_of_an_adopted_run_bucket_is_unknown(record: Any) -> None:
    def program() -> None:
        network = Network.adopt("net", vpc_id=VPC, subnet_ids={ZONE: SUBNET})
        runs = Bucket.adopt("runs", bucket="acme-runs")
        jobs = JobService("train", pools=[GpuPool("h200", {**HELD, "min_nodes": 1}, network=network)], writes=[runs])
        pulumi.export("targets", jobs.targets)

    recorded = record(program)
    target = recorded.exports["targets"]["h200"]
    assert (target["encryption_key"], target["run_bucket"]) == (None, "gs://acme-runs")
    assert target["persistent_resource"].startswith("h200-held-")
    assert not [request.name for request in recorded.resources.values() if "vertex-uses-key" in request.name]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"writes": []}, ["writes: not one bucket, got none, allowed: exactly one bucket, the run bucket"]),
        ({"secrets": {"wandb": "projects/acme/secrets/wandb"}}, ["secrets.wandb: wrong value, got (secret)"]),
        ({"limits": {"gpus": 0, "usd": 3}}, ["limits.gpus: wrong value, got 0", "limits.usd: unknown key"]),
        (
            {"secrets": {"a": "x"}, "image": "x", "submitters": ("*",), "pools": {}},
            ["4 problems", "secrets.a", "image", "submitters.0", "pools"],
        ),
    ],
)
def test_all_wrong_inputs_are_reported_before_anything_is_made(record: Any, change: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(lambda: declare(**change))
    assert str(caught.value).startswith("JobService train: ")
    assert [words for words in expected if words not in str(caught.value)] == [], str(caught.value)
