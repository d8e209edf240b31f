"""`gpuyard.job_targets` combines the targets of several job services, and refuses what would overwrite another service's targets."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

import gpuyard
from gpuyard.components.local import Bucket, GpuPool, JobService, Network
from gpuyard.components.local.gpus import Gpus


@pytest.fixture(autouse=True)
def _no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuyard.components.local.gpu_pool.find_gpus", Gpus)


def _services(*, shared_bucket: bool = False, shared_pool: bool = False) -> list[JobService]:
    network = Network("net")
    pools = [GpuPool(name, {"max_nodes": 1, "service": "local"}, network=network) for name in ("train", "research")]
    buckets = [Bucket(name) for name in ("runs", "more-runs")]
    return [
        JobService(f"{pool.logical_name}-jobs", pools=[pools[0] if shared_pool else pool], writes=[buckets[0] if shared_bucket else bucket])
        for pool, bucket in zip(pools, buckets, strict=True)
    ]


def test_one_output_has_the_pools_of_both_services(record: Any) -> None:
    def program() -> None:
        pulumi.export("job_targets", gpuyard.job_targets(*_services()).apply(lambda found: json.dumps(found)))

    found = json.loads(record(program).exports["job_targets"])
    assert {pool: target["pool"] for pool, target in found.items()} == {"train": "train", "research": "research"}
    assert len({target["run_bucket"] for target in found.values()}) == 2


def test_services_with_the_same_pool_or_run_bucket_are_refused(record: Any) -> None:
    def program() -> None:
        gpuyard.job_targets(*_services(shared_bucket=True, shared_pool=True))

    with pytest.raises(pulumi.RunError) as caught:
        record(program)
    text = str(caught.value)
    assert "pools: the same in two job services, got train, allowed: each name once; rename one, because a job names its pool alone" in text
    assert "writes: the same in two job services, got runs, allowed: each name once; give each service a run bucket of its own" in text
