"""GCP's EncryptionKey: rotation, delayed destruction, and the Google services that may use it."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from gpuyard.components.gcp import EncryptionKey
from gpuyard.components.gcp.service_agents import AGENTS
from tests.helpers.gcp_sample_pools import of_type

GRANT = "gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember"


@pytest.mark.parametrize("preview", [False, True])
def test_tokens_and_child_names_do_not_change(record: Any, preview: bool) -> None:
    recorded = record(lambda: pulumi.export("id", EncryptionKey("data").id), preview=preview)
    assert sorted((request.type, request.name) for request in recorded.resources.values()) == [
        ("gcp:kms/cryptoKey:CryptoKey", "data-key"),
        (GRANT, "data-storage-uses"),
        ("gcp:kms/keyRing:KeyRing", "data-ring"),
        ("gpuyard-gcp:index:EncryptionKey", "data"),
    ]
    assert recorded.unknown == ({"id"} if preview else set())


def test_a_key_rotates_and_its_destruction_is_delayed(record: Any) -> None:
    recorded = record(lambda: EncryptionKey("data", tags={"owner": "me"}))
    assert recorded.inputs("gcp:kms/cryptoKey:CryptoKey", "data-key") == {
        "keyRing": "projects/acme-ml/locations/us-central1/keyRings/data-ring",
        "purpose": "ENCRYPT_DECRYPT",
        "rotationPeriod": "7776000s",
        "destroyScheduledDuration": "2592000s",
        "labels": {"owner": "me", "gpuyard_stack": "gpuyard-local", "name": "data-key"},
    }


@pytest.mark.parametrize("use", sorted(AGENTS))
def test_only_the_named_google_services_may_use_the_key(record: Any, use: Any) -> None:
    grants = of_type(record(lambda: EncryptionKey("data", uses=(use,))), GRANT)
    assert list(grants) == [f"data-{use}-uses"]
    [grant] = grants.values()
    assert grant["role"] == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    assert grant["member"].startswith("serviceAccount:service-123456789012@")
    assert grant["member"].endswith(".iam.gserviceaccount.com")


def test_the_storage_service_agent_is_looked_up(record: Any) -> None:
    """Google makes it at the first look-up."""
    assert "gcp:storage/getProjectServiceAccount:getProjectServiceAccount" in record(lambda: EncryptionKey("data")).lookups


def test_keep_retains_the_key_and_delete_does_not(record: Any) -> None:
    def program() -> None:
        EncryptionKey("kept")
        EncryptionKey("gone", on_destroy="delete")

    recorded = record(program)
    assert recorded.one("gpuyard-gcp:index:EncryptionKey", "kept").retainOnDelete
    assert not recorded.one("gpuyard-gcp:index:EncryptionKey", "gone").retainOnDelete


def test_the_key_id_waits_for_the_grants(record: Any) -> None:
    recorded = record(
        lambda: pulumi.ComponentResource("t:index:User", "user", {"key": EncryptionKey("data", uses=("storage", "compute")).id})
    )
    waits = {urn.rpartition("::")[2] for urn in recorded.one("t:index:User", "user").propertyDependencies["key"].urns}
    assert waits >= {"data-key", "data-storage-uses", "data-compute-uses"}


def test_all_wrong_values_are_reported_together(record: Any) -> None:
    wrong: Any = {"on_destroy": "burn", "uses": ("disks",)}
    with pytest.raises(pulumi.RunError, match=r"EncryptionKey K: 3 problems") as caught:
        record(lambda: EncryptionKey("K", **wrong))
    assert "on_destroy: wrong value, got 'burn', allowed: keep or delete" in str(caught.value)
    assert "uses: unknown Google service, got 'disks', allowed: storage, compute, aiplatform, artifactregistry" in str(caught.value)
