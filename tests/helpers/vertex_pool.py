"""A Vertex AI pool behind the fakes, with the documented endpoint variables set and a runner for its target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends import base
from gpuyard.training_jobs.backends.vertex import VertexBackend
from gpuyard.training_jobs.clouds import gcp
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.target import JobTarget, parse_target
from tests.fakes.gcp.cloud_logging import FakeLogging
from tests.fakes.gcp.cloud_storage import FakeStorage
from tests.fakes.gcp.vertex import PROJECT, REGION, FakeVertex
from tests.fakes.gcp.workload_identity import FakeTokenExchange
from tests.helpers.gcs_bucket import drop_cached_clients, storage

IMAGE = f"us-central1-docker.pkg.dev/acme-ml/train/job@sha256:{'a' * 64}"
KEY = "projects/acme-ml/locations/us-central1/keyRings/yard/cryptoKeys/runs"


def target_document(**changes: Any) -> dict[str, Any]:
    """Return JobTarget v1 of a pool of 2 machines that Vertex AI allocates for each job."""
    return {
        "version": 1,
        "kind": "vertex",
        "stack": "gpuyard/prod-gcp",
        "pool": "l4",
        "run_bucket": "gs://runs",
        "buckets": {"runs": "gs://runs"},
        "machine": "g2-standard-48",
        "accelerator": "L4",
        "gpus_per_node": 4,
        "nics_per_node": 0,
        "min_nodes": 0,
        "max_nodes": 2,
        "price": {"usd_per_node_hour": 4.0, "source": "list price"},
        "secrets": {},
        "default_image": IMAGE,
        "region": REGION,
        "spot": False,
        "encryption_key": None,
        "job_prefix": "gpuyard-d6d45572-",
        "project": PROJECT,
        "accelerator_type": "NVIDIA_L4",
        "strategy": "standard",
        "reservation": None,
        "persistent_resource": None,
        "service_account": "gpuyard-job@acme-ml.iam.gserviceaccount.com",
        "network_attachment": None,
        "boot_disk_gib": 200,
        "boot_disk_type": "pd-ssd",
        **changes,
    }


def make_target(**changes: Any) -> JobTarget:
    """Return the target of the pool, validated."""
    return parse_target(target_document(**changes))


@dataclass
class Yard:
    """The services of the project, and the folder of the replicas."""

    vertex: FakeVertex
    logs: FakeLogging
    storage: FakeStorage
    tokens: FakeTokenExchange
    folder: Path

    def runner(self, **changes: Any) -> Runner:
        """Return a runner for the pool, with `changes` of its target's fields."""
        return Runner({"l4": make_target(**changes)})

    def endpoint_variables(self, protocol: str) -> dict[str, str]:
        """Return the variables for the service's gRPC or REST endpoint."""
        url = self.vertex.rest.url if protocol == "rest" else self.vertex.grpc.url
        return {"CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"{url}/", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self.vertex.grpc.roots)}


@contextmanager
def yard(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    program: str | None = None,
    grace_s: float = 30.0,
    protocol: str = "grpc",
    **logs_as: Any,
) -> Iterator[Yard]:
    """Run all services. Callers must be signed in as a pipeline. `program`: runs on a replica instead of the bootstrap."""
    if program is not None:
        (folder / "program.py").write_text(program)
        monkeypatch.setattr(base, "BOOTSTRAP", folder / "program.py")
    monkeypatch.setattr(VertexBackend, "poll_s", 0.05)
    with storage(monkeypatch, "runs") as bucket, FakeLogging(**logs_as) as logs, FakeTokenExchange() as tokens:
        signed_in = tokens.environment(folder / "credentials")
        with FakeVertex(folder / "replicas", logs, {**bucket.environment(), **signed_in, "GPUYARD_NOTICE": "off"}, grace_s=grace_s) as fake:
            found = Yard(fake, logs, bucket, tokens, folder)
            logging = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"{logs.url}/"}
            for name, value in {**signed_in, **logging, **found.endpoint_variables(protocol)}.items():
                monkeypatch.setenv(name, value)
            for service in (bucket, logs, fake):
                service.accepts = tokens.is_valid
            drop_cached_clients()
            try:
                yield found
            finally:
                close()


def close() -> None:
    """Close the connections of this test."""
    made = [client for clients in gcp._cached.values() for name, client in clients._clients.items() if name != "credentials"]
    for client in made:
        getattr(client, "transport", client).close()
    gcp._cached.clear()
