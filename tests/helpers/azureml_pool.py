"""An Azure ML cluster behind the fakes, under Azure's own host names, with a runner for its target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends import azureml, base
from gpuyard.training_jobs.backends.azureml import AzureMLBackend
from gpuyard.training_jobs.clouds import azure
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.target import JobTarget, parse_target
from tests.fakes.azure.azureml import LOG_HOST, SUBSCRIPTION, FakeAzureMl
from tests.fakes.azure.blob_storage import Storage, storage
from tests.fakes.azure.entra import NODES, NodeIdentity

IMAGE = f"yard.azurecr.io/train@sha256:{'a' * 64}"


def target_document(run_bucket: str = "abfs://runs@account.dfs.core.windows.net", **changes: Any) -> dict[str, Any]:
    """Return JobTarget v1 of a cluster of 2 nodes."""
    return {
        "version": 1,
        "kind": "azureml",
        "stack": "gpuyard/prod-azure",
        "pool": "h100",
        "run_bucket": run_bucket,
        "buckets": {"runs": run_bucket},
        "machine": "Standard_ND96isr_H100_v5",
        "accelerator": "H100",
        "gpus_per_node": 8,
        "nics_per_node": 8,
        "min_nodes": 0,
        "max_nodes": 2,
        "price": {"usd_per_node_hour": 36.0, "source": "the stack's own rate"},
        "secrets": {},
        "default_image": IMAGE,
        "region": "eastus2",
        "spot": False,
        "encryption_key": None,
        "job_prefix": "gpuyard-d6d45572-",
        "subscription_id": SUBSCRIPTION,
        "resource_group": "yard",
        "workspace": "train",
        "compute": "h100",
        "identity_client_id": NODES,
        **changes,
    }


def make_target(run_bucket: str = "abfs://runs@account.dfs.core.windows.net", **changes: Any) -> JobTarget:
    """Return the target of the cluster, validated."""
    return parse_target(target_document(run_bucket, **changes))


@dataclass
class Yard:
    """The services of the subscription, and the folder of the nodes."""

    ml: FakeAzureMl
    storage: Storage
    identity: NodeIdentity
    folder: Path

    def target(self, **changes: Any) -> JobTarget:
        """Return the pool's target, with `changes` of its fields."""
        return make_target(self.storage.url, **changes)

    def runner(self, **changes: Any) -> Runner:
        """Return a runner for the pool."""
        return Runner({"h100": self.target(**changes)})


@contextmanager
def service(folder: Path, monkeypatch: pytest.MonkeyPatch, *, program: str | None = None, grace_s: float = 30.0) -> Iterator[FakeAzureMl]:
    """Run the workspace alone, without a signed-in caller. `program`: runs on a node instead of the bootstrap."""
    if program is not None:
        (folder / "program.py").write_text(program)
        monkeypatch.setattr(base, "BOOTSTRAP", folder / "program.py")
    azureml._registered.clear()
    azureml._histories.clear()
    azure._cached.cache_clear()
    monkeypatch.setattr(AzureMLBackend, "poll_s", 0.05)
    with FakeAzureMl(folder / "nodes", {"GPUYARD_NOTICE": "off"}, grace_s=grace_s) as ml:
        try:
            yield ml
        finally:
            azure._cached.cache_clear()


def hosts(ml: FakeAzureMl) -> dict[str, int]:
    """Return the workspace's host names with its port."""
    return {"management.azure.com": ml.server_port, ".api.azureml.ms": ml.server_port, LOG_HOST: ml.server_port}


@contextmanager
def yard(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    program: str | None = None,
    grace_s: float = 30.0,
    routes: Mapping[str, int] | None = None,
) -> Iterator[Yard]:
    """Run all services, run bucket included. `routes`: ports of fakes for other host names."""
    with (
        NodeIdentity() as identity,
        service(folder, monkeypatch, program=program, grace_s=grace_s) as ml,
        storage(folder, monkeypatch, {**hosts(ml), **(routes or {})}) as account,
    ):
        ml.environment |= {**account.proxy.environment(), **identity.environment()}
        yield Yard(ml, account, identity, folder)
