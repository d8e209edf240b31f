"""GCP's buckets and keys: protection, retention and deletion, existing buckets, and the inputs that they refuse."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from gpuyard.components.gcp import Bucket, EncryptionKey
from gpuyard.components.gcp.bucket_rules import data_lifecycle, existing_problems, log_lifecycle
from tests.helpers.gcp_sample_yard import TAGS, kinds

BUCKET, KEY = "gcp:storage/bucket:Bucket", "gcp:kms/cryptoKey:CryptoKey"
GRANT = "gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember"


@pytest.mark.parametrize("preview", [False, True])
def test_children_of_a_bucket(record: Any, preview: bool) -> None:
    recorded = record(lambda: Bucket("runs", tags=TAGS), preview=preview)
    found = [f"{request.type.rpartition(':')[2]} {request.name}" for request in recorded.resources.values()]
    assert sorted(found) == [
        "Bucket runs",
        "Bucket runs-bucket",
        "CryptoKey runs-key-key",
        "CryptoKeyIAMMember runs-key-storage-uses",
        "EncryptionKey runs-key",
        "KeyRing runs-key-ring",
    ]
    assert recorded.one("gpuyard-gcp:index:Bucket", "runs").retainOnDelete  # the engine applies it to the children too
    assert recorded.one("gpuyard-gcp:index:EncryptionKey", "runs-key").retainOnDelete


@pytest.mark.parametrize("on_destroy", ["keep", "delete"])
@pytest.mark.parametrize("hierarchical", [False, True])
def test_the_golden_bucket(record: Any, on_destroy: str, hierarchical: bool) -> None:
    recorded = record(lambda: Bucket("runs", {"on_destroy": on_destroy}, namespace="hierarchical" if hierarchical else "flat", tags=TAGS))
    given_to = recorded.inputs(BUCKET, "runs-bucket")
    rules = given_to.pop("lifecycleRules")
    assert len(rules) == (1 if hierarchical else 3)
    layout = {"hierarchicalNamespace": {"enabled": True}} if hierarchical else {"versioning": {"enabled": True}}
    assert given_to == {
        "location": "us-central1",
        "uniformBucketLevelAccess": True,
        "publicAccessPrevention": "enforced",
        "encryption": {"defaultKmsKeyName": "projects/acme-ml/locations/us-central1/keyRings/runs-key-ring/cryptoKeys/runs-key-key"},
        "softDeletePolicy": {"retentionDurationSeconds": 604_800 if hierarchical and on_destroy == "keep" else 0},
        "forceDestroy": on_destroy == "delete",
        "labels": {"owner": "ml-acme-io", "expires": "2027-03-31", "team": "nlp", "gpuyard_stack": "gpuyard-local", "name": "runs-bucket"},
        **layout,
    }
    assert recorded.one("gpuyard-gcp:index:Bucket", "runs").retainOnDelete == (on_destroy == "keep")


def test_access_logs_are_a_choice(record: Any) -> None:
    """Organisations with restricted domains refuse the grant to Google's group."""
    recorded = record(lambda: Bucket("runs", {"access_logs": True}, tags=TAGS))
    assert recorded.inputs(BUCKET, "runs-bucket")["logging"] == {"logBucket": "runs-access-logs", "logObjectPrefix": "runs"}
    writer = recorded.inputs("gcp:storage/bucketIAMMember:BucketIAMMember", "runs-access-logs-writer")
    assert writer["member"] == "group:cloud-storage-analytics@google.com"


@pytest.mark.parametrize("versions", [True, False])
def test_no_rule_deletes_a_current_object(versions: bool) -> None:
    rules: list[Any] = data_lifecycle(versions)
    deletes = [rule["condition"] for rule in rules if rule["action"]["type"] == "Delete"]
    assert all(condition["with_state"] == "ARCHIVED" for condition in deletes)
    assert bool(deletes) == versions
    assert {"age": 365} in [rule["condition"] for rule in log_lifecycle()]


@pytest.mark.parametrize("preview", [False, True])
def test_an_existing_bucket_is_not_changed(record: Any, preview: bool) -> None:
    recorded = record(lambda: Bucket.adopt("data", bucket="acme-datasets"), preview=preview)
    assert kinds(recorded) == ["Bucket data"]
    assert recorded.outputs("Bucket")["url"] == "gs://acme-datasets"


@pytest.mark.parametrize("name", ["gs://acme", "Acme", "ab", "google-things", 7])
def test_illegal_bucket_names_are_refused(record: Any, name: Any) -> None:
    assert existing_problems(name)
    with pytest.raises(pulumi.RunError, match="Bucket data: 1 problem"):
        record(lambda: Bucket.adopt("data", bucket=name if isinstance(name, str) else str(name) + "/"))


def test_a_key_rotates_and_only_named_services_use_it(record: Any) -> None:
    recorded = record(lambda: EncryptionKey("disks", uses=("compute", "storage"), on_destroy="delete", tags=TAGS))
    key = recorded.inputs(KEY, "disks-key")
    assert (key["rotationPeriod"], key["purpose"], key["destroyScheduledDuration"]) == ("7776000s", "ENCRYPT_DECRYPT", "2592000s")
    members = [recorded.inputs(GRANT, f"disks-{use}-uses") for use in ("compute", "storage")]
    assert [grant["member"] for grant in members] == [
        "serviceAccount:service-123456789012@compute-system.iam.gserviceaccount.com",
        "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com",
    ]
    assert {grant["role"] for grant in members} == {"roles/cloudkms.cryptoKeyEncrypterDecrypter"}


def test_all_wrong_inputs_of_a_key_are_reported(record: Any) -> None:
    wrong: Any = {"uses": ("s3",), "on_destroy": "burn"}
    with pytest.raises(pulumi.RunError, match="2 problems"):
        record(lambda: EncryptionKey("disks", **wrong))
