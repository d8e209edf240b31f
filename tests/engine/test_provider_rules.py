"""The stand-ins of Google Cloud and Azure form ids as these clouds do, so that code that uses an id is tested with a realistic one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.pulumi_provider import azure_rules, azure_types, resource_rules, sdk_check
from tests.fakes.pulumi_provider.cloud import Cloud, Refused

GROUP = f"/subscriptions/{azure_rules.SUBSCRIPTION}/resourceGroups/rg"
IN_GROUP = {"resourceGroupName": "rg"}
RING = "projects/acme-ml/locations/us-central1/keyRings/yard"


@pytest.mark.parametrize(
    ("token", "inputs", "made_id"),
    [
        ("gcp:storage/bucket:Bucket", {"name": "runs"}, "runs"),
        ("gcp:compute/subnetwork:Subnetwork", {"name": "a", "region": "us-east1"}, "projects/acme-ml/regions/us-east1/subnetworks/a"),
        ("gcp:kms/cryptoKey:CryptoKey", {"name": "k", "keyRing": RING}, f"{RING}/cryptoKeys/k"),
        ("gcp:storage/bucketIAMMember:BucketIAMMember", {"bucket": "b", "role": "r", "member": "m"}, "b/b/r/m"),
        (
            "gcp:serviceaccount/account:Account",
            {"accountId": "nodes"},
            "projects/acme-ml/serviceAccounts/nodes@acme-ml.iam.gserviceaccount.com",
        ),
        ("azure-native:resources:ResourceGroup", {"resourceGroupName": "rg"}, GROUP),
        (
            "azure-native:network:Subnet",
            {**IN_GROUP, "virtualNetworkName": "net", "subnetName": "a"},
            f"{GROUP}/providers/Microsoft.Network/virtualNetworks/net/subnets/a",
        ),
        (
            "azure-native:storage:BlobContainer",
            {**IN_GROUP, "accountName": "acme", "containerName": "runs"},
            f"{GROUP}/providers/Microsoft.Storage/storageAccounts/acme/blobServices/default/containers/runs",
        ),
        (
            "azure-native:authorization:RoleAssignment",
            {"scope": f"{GROUP}/x", "roleAssignmentName": "g"},
            f"{GROUP}/x/providers/Microsoft.Authorization/roleAssignments/g",
        ),
    ],
)
def test_an_id_has_the_clouds_form(token: str, inputs: dict[str, Any], made_id: str) -> None:
    assert resource_rules.of(token).made(token, "urn:pulumi:s::p::t::label", inputs)[0] == made_id


def test_every_part_of_an_id_is_a_property_of_the_sdk() -> None:
    for token, row in azure_types.table().items():
        assert set(row["path"]) <= set(sdk_check.resource(token).inputs), token
        assert row["arm"] is None or resource_rules.of(token).key(token) in sdk_check.resource(token).inputs, token


@pytest.mark.parametrize(
    ("inputs", "config", "answer"),
    [
        ({"billingAccount": "01AB"}, {}, "requires a quota project"),
        ({"billingAccount": "01AB"}, {"billingProject": "acme", "userProjectOverride": "false"}, "requires a quota project"),
        ({"billingAccount": ""}, {"billingProject": "acme", "userProjectOverride": "true"}, "invalid argument"),
        ({"billingAccount": "01AB"}, {"billingProject": "acme", "userProjectOverride": "true"}, None),
    ],
)
def test_google_refuses_a_budget_without_a_quota_project_or_account(inputs: Any, config: Any, answer: str | None) -> None:
    token = "gcp:billing/budget:Budget"
    found = resource_rules.of(token).refused(token, inputs, config)
    assert (answer in str(found)) if answer else found is None


@pytest.mark.parametrize(
    ("inputs", "accepted"),
    [
        ({"network": "projects/acme-ml/global/networks/net"}, True),
        ({"network": "projects/acme-host/global/networks/net"}, False),
        ({"network": "projects/acme-host/global/networks/net", "project": "acme-host"}, True),
    ],
)
def test_google_refuses_a_firewall_rule_for_a_network_of_another_project(inputs: Any, accepted: bool) -> None:
    token = "gcp:compute/firewall:Firewall"
    assert (resource_rules.of(token).refused(token, inputs, {}) is None) == accepted


def test_google_refuses_a_grant_outside_the_organisation() -> None:
    token = "gcp:storage/bucketIAMMember:BucketIAMMember"
    refused = resource_rules.of(token).refused
    assert "permitted customer" in str(refused(token, {"member": "group:cloud-storage-analytics@google.com"}, {}))
    assert refused(token, {"member": "serviceAccount:a@acme-ml.iam.gserviceaccount.com"}, {}) is None


@pytest.mark.parametrize("token", ["gcp:compute/networkAttachment:NetworkAttachment", "gcp:compute/instanceTemplate:InstanceTemplate"])
def test_google_refuses_to_delete_resources_in_use(tmp_path: Path, token: str) -> None:
    cloud = Cloud(tmp_path, 0)
    cloud.create(token, "urn", {}, {}, "a")
    with pytest.raises(Refused, match=r"Error 4(00|12)"):
        cloud.delete(token, "a")


def test_google_refuses_grants_to_service_agents_that_do_not_exist(tmp_path: Path) -> None:
    token, cloud = "gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember", Cloud(tmp_path, 0)
    grant = {"member": "serviceAccount:service-123456789012@gcp-sa-aiplatform.iam.gserviceaccount.com"}
    with pytest.raises(Refused, match="does not exist"):
        cloud.create(token, "urn", grant, {}, "k/r/m")
    cloud.create("gcp:projects/serviceIdentity:ServiceIdentity", "urn", {}, {}, "projects/acme-ml/services/aiplatform.googleapis.com")
    cloud.create(token, "urn", grant, {}, "k/r/m")


def test_google_blocks_the_id_of_a_deleted_custom_role(tmp_path: Path) -> None:
    token, cloud = "gcp:projects/iAMCustomRole:IAMCustomRole", Cloud(tmp_path, 0)
    cloud.create(token, "urn", {}, {}, "projects/acme-ml/roles/a")
    cloud.delete(token, "projects/acme-ml/roles/a")
    with pytest.raises(Refused, match="its id is blocked"):
        cloud.create(token, "urn", {}, {}, "projects/acme-ml/roles/a")
    cloud.create(token, "urn", {}, {}, "projects/acme-ml/roles/b")
