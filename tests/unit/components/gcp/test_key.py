"""GCP's EncryptionKey: rotation, time to change one's mind, and who may use it."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from gpuyard.components.gcp import EncryptionKey
from gpuyard.components.gcp.key import AGENTS
from tests.helpers.gcp_sample_pools import of_type

GRANT = "gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember"


@pytest.mark.parametrize("preview", [False, True])
def test_tokens_and_child_names_are_the_frozen_ones(record: Any, preview: bool) -> None:
    recorded = record(lambda: pulumi.export("id", EncryptionKey("data").id), preview=preview)
    assert sorted((request.type, request.name) for request in recorded.resources.values()) == [
        ("gcp:kms/cryptoKey:CryptoKey", "data-key"),
        (GRANT, "data-storage-uses"),
        ("gcp:kms/keyRing:KeyRing", "data-ring"),
        ("gpuyard-gcp:index:EncryptionKey", "data"),
    ]
    assert recorded.unknown == ({"id"} if preview else set())


def test_a_key_rotates_and_its_end_can_be_called_off_for_long(record: Any) -> None:
    recorded = record(lambda: EncryptionKey("data", tags={"owner": "me"}))
    assert recorded.inputs("gcp:kms/cryptoKey:CryptoKey", "data-key") == {
        "keyRing": "projects/acme-ml/locations/us-central1/keyRings/data-ring",
        "purpose": "ENCRYPT_DECRYPT",
        "rotationPeriod": "7776000s",
        "destroyScheduledDuration": "2592000s",
        "labels": {"owner": "me", "gpuyard_stack": "gpuyard-local", "name": "data-key"},
    }


@pytest.mark.parametrize("use", sorted(AGENTS))
def test_googles_services_that_are_named_may_use_it_and_nobody_else(record: Any, use: Any) -> None:
    grants = of_type(record(lambda: EncryptionKey("data", uses=(use,))), GRANT)
    assert list(grants) == [f"data-{use}-uses"]
    [grant] = grants.values()
    assert grant["role"] == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    assert grant["member"].startswith("serviceAccount:service-123456789012@")
    assert grant["member"].endswith(".iam.gserviceaccount.com")


def test_storages_account_is_asked_for_and_so_made(record: Any) -> None:
    """In a new project there is none before."""
    assert "gcp:storage/getProjectServiceAccount:getProjectServiceAccount" in record(lambda: EncryptionKey("data")).lookups


def test_keep_keeps_and_delete_does_not(record: Any) -> None:
    def program() -> None:
        EncryptionKey("kept")
        EncryptionKey("gone", on_destroy="delete")

    recorded = record(program)
    assert recorded.one("gpuyard-gcp:index:EncryptionKey", "kept").retainOnDelete
    assert not recorded.one("gpuyard-gcp:index:EncryptionKey", "gone").retainOnDelete


def test_who_uses_a_key_finds_it_usable(record: Any) -> None:
    recorded = record(
        lambda: pulumi.ComponentResource("t:index:User", "user", {"key": EncryptionKey("data", uses=("storage", "compute")).id})
    )
    waits = {urn.rpartition("::")[2] for urn in recorded.one("t:index:User", "user").propertyDependencies["key"].urns}
    assert waits >= {"data-key", "data-storage-uses", "data-compute-uses"}


def test_wrong_words_are_told_together(record: Any) -> None:
    wrong: Any = {"on_destroy": "burn", "uses": ("disks",)}
    with pytest.raises(pulumi.RunError, match=r"EncryptionKey K: 3 problems") as caught:
        record(lambda: EncryptionKey("K", **wrong))
    assert "on_destroy: got 'burn', allowed: keep or delete" in str(caught.value)
    assert "uses: got 'disks', allowed: storage, compute, aiplatform, artifactregistry" in str(caught.value)
