"""`gpuyard pin` on Azure: the request that it sends, and what it writes. The backend's tests cover the client itself."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from gpuyard.stacks.cli.pin import pin
from gpuyard.stacks.pinning.job_image import by_digest
from gpuyard.stacks.settings import load
from gpuyard.training_jobs.clouds import azure, azure_credentials
from gpuyard.training_jobs.errors import UsageError

STACK = """\
config:
  azure-native:location: eastus
  azure-native:subscriptionId: sub
  gpuyard:cloud: azure
  gpuyard:owner: me@acme.io
  gpuyard:expires: "2999-03-31"
  gpuyard:network: {zones: ["1"]}
  gpuyard:buckets: {runs: {jobs: write}}
  gpuyard:pools:
    lab: {machine: Standard_ND96isr_H100_v5, zone: "1", max_nodes: 2, service: vms}
    own: {machine: Standard_ND96isr_H100_v5, zone: "1", max_nodes: 2, service: vms, image: "a:b:c:1.0.0"}
    ml: {machine: Standard_ND96isr_H100_v5, max_nodes: 2, service: azureml}
"""
URL = (
    "https://management.azure.com/subscriptions/sub/providers/Microsoft.Compute/locations/eastus/publishers/microsoft-dsvm"
    "/artifacttypes/vmimage/offers/ubuntu-hpc/skus/2204/versions?api-version=2024-07-01"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: gpuyard\nruntime: python\n")
    (tmp_path / "__main__.py").write_text("")
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK)

    def call(verb: str, url: str, **more: Any) -> Any:
        assert (verb, url, more) == ("GET", URL, {"audience": "https://management.azure.com"})
        return SimpleNamespace(json=lambda: [{"name": name} for name in ("22.04.2026020101", "22.04.2026101001", "22.04.2025120101")])

    monkeypatch.setattr(azure, "azure_clients", lambda: SimpleNamespace(call=call))
    return tmp_path


def test_the_newest_version_is_written_for_the_pools_that_name_no_image(project: Path) -> None:
    document = pin("dev", project, None)
    assert document.machine_images == {"lab": "microsoft-dsvm:ubuntu-hpc:2204:22.04.2026101001"}
    assert document.note is not None
    assert document.note.startswith("no job image is pinned: azure has no image that can run jobs")
    config = yaml.safe_load((project / "Pulumi.dev.yaml").read_text())["config"]
    raw = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    assert load(raw, stack="dev").pins.machine_images == document.machine_images
    assert pin("dev", project, None).changed is False


def test_a_tag_of_a_container_registry_is_pinned_by_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, dict[str, Any]]] = []
    answers = {
        "/oauth2/exchange": {"refresh_token": "refresh"},
        "/oauth2/token": {"access_token": "access"},
        "/acr/v1/team/train/_tags/v7": {"tag": {"name": "v7", "digest": f"sha256:{'ab' * 32}"}},
    }

    def call(verb: str, url: str, **more: Any) -> Any:
        assert more.pop("audience") is None
        asked.append((verb, url, more))
        return SimpleNamespace(json=lambda: answers[url.removeprefix("https://acmetrain.azurecr.io")])

    monkeypatch.setattr(azure, "azure_clients", lambda: SimpleNamespace(call=call))
    entra = SimpleNamespace(get_token=lambda scope: SimpleNamespace(token=f"entra for {scope}"))
    monkeypatch.setattr(azure_credentials, "default_credential", lambda: entra)
    assert by_digest("acmetrain.azurecr.io/team/train:v7") == f"acmetrain.azurecr.io/team/train@sha256:{'ab' * 32}"
    (_, _, first), (_, _, second), (_, _, third) = asked
    assert first["form"]["access_token"] == "entra for https://containerregistry.azure.net/.default"
    assert (second["form"]["refresh_token"], second["form"]["scope"]) == ("refresh", "repository:team/train:metadata_read")
    assert third["headers"] == {"Authorization": "Bearer access"}


def test_a_stack_without_a_subscription_names_the_key_to_set(project: Path) -> None:
    file = project / "Pulumi.dev.yaml"
    file.write_text(STACK.replace("  azure-native:subscriptionId: sub\n", ""))
    with pytest.raises(UsageError, match="ARM_SUBSCRIPTION_ID"):
        pin("dev", project, None)
