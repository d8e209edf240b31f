"""`gpuyard pin` on GCP: the requests that it sends to Compute Engine and Artifact Registry, and what it writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gpuyard.stacks.cli.pin import pin
from gpuyard.training_jobs.clouds import gcp
from gpuyard.training_jobs.clouds.gcp import GcpClients
from gpuyard.training_jobs.errors import GpuyardError

STACK = """\
config:
  gcp:project: acme-ml
  gcp:region: us-central1
  gpuyard:cloud: gcp
  gpuyard:owner: me@acme.io
  gpuyard:expires: "2999-03-31"
  gpuyard:network: {zones: [us-central1-a]}
  gpuyard:buckets: {runs: {jobs: write}}
  gpuyard:pools:
    lab: {machine: g2-standard-48, zone: us-central1-a, max_nodes: 2, service: vms}
    own: {machine: g2-standard-48, zone: us-central1-a, max_nodes: 2, service: vms, image: projects/acme/global/images/mine}
    l4: {machine: g2-standard-48, max_nodes: 2, service: vertex}
"""
PATH = "/compute/v1/projects/ubuntu-os-accelerator-images/global/images/family/ubuntu-accelerator-2404-amd64-with-nvidia-580"


REPOSITORY = "us-central1-docker.pkg.dev/acme-ml/gpuyard-1a2b-train"
TAG = "/v1/projects/acme-ml/locations/us-central1/repositories/gpuyard-1a2b-train/packages/team%2Ftrain/tags/v7"
DIGEST = f"sha256:{'ab' * 32}"
ANSWERS = {
    PATH: {"name": "ubuntu-accelerator-v20261101"},
    TAG: {"name": TAG[4:], "version": f"{TAG[4:].partition('/tags/')[0]}/versions/{DIGEST}"},
}


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve a Compute Engine API with one image family, a registry with one tag, and return the list of requested paths."""
    paths: list[str] = []

    class Google(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            body = json.dumps(ANSWERS.get(self.path, {"error": {"message": "not found"}})).encode()
            self.send_response(200 if self.path in ANSWERS else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Google)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for service in ("COMPUTE", "ARTIFACTREGISTRY"):
        monkeypatch.setenv(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service}", f"http://127.0.0.1:{server.server_port}/")
    google = GcpClients("acme-ml", "us-central1", signed_in=_signed_in())
    monkeypatch.setattr(gcp, "gcp_clients", lambda project, region: google if (project, region) == ("acme-ml", "us-central1") else None)
    yield paths
    server.shutdown()
    server.server_close()


def _signed_in() -> object:
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()  # type: ignore[no-untyped-call]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: gpuyard\nruntime: python\n", encoding="utf-8")
    (tmp_path / "__main__.py").write_text("", encoding="utf-8")
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK, encoding="utf-8")
    return tmp_path


def test_the_newest_of_the_family_is_written_for_the_pools_that_name_no_image(project: Path, requested: list[str]) -> None:
    document = pin("dev", project, None)
    assert document.machine_images == {"lab": "projects/ubuntu-os-accelerator-images/global/images/ubuntu-accelerator-v20261101"}
    assert requested == [PATH]
    assert pin("dev", project, None).changed is False


def test_the_digest_of_a_tag_in_artifact_registry_is_pinned(project: Path, requested: list[str]) -> None:
    document = pin("dev", project, f"{REPOSITORY}/team/train:v7")
    assert document.job_image == f"{REPOSITORY}/team/train@{DIGEST}"
    assert requested == [PATH, TAG]
    with pytest.raises(GpuyardError, match="not found"):
        pin("dev", project, f"{REPOSITORY}/team/train:v8")


def test_a_missing_image_family_changes_nothing(project: Path, requested: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from gpuyard.components.gcp import machines

    monkeypatch.setattr(machines, "image_family", lambda row: "gone")
    with pytest.raises(GpuyardError):
        pin("dev", project, None)
    assert (project / "Pulumi.dev.yaml").read_text(encoding="utf-8") == STACK
    assert requested[0].endswith("/family/gone")
