"""Pools on Vertex AI: the network attachment, and persistent resources that are deleted at expiry."""

from __future__ import annotations

from typing import Any

import pytest

from gpuyard.components.gcp import EncryptionKey
from tests.helpers.gcp_sample_pools import CAPACITIES, END, MACHINES, TAGS, VERTEX, kinds, network, pool
from tests.helpers.gcp_sample_yard import HELD, SCHEDULE

ATTACHMENT = "gcp:compute/networkAttachment:NetworkAttachment"
ATTACHED = ["GpuPool pool", "NetworkAttachment pool-attachment", "ServiceIdentity pool-aiplatform-agent"]
HOLDS: dict[str, Any] = {**VERTEX, "min_nodes": 2}


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize("mode", CAPACITIES)
def test_no_persistent_resource_without_min_nodes(record: Any, mode: str, preview: bool) -> None:
    made: list[Any] = []
    recorded = record(lambda: made.append(pool({**VERTEX, "capacity": CAPACITIES[mode]})()), preview=preview)
    assert kinds(recorded) == ATTACHED
    assert (made[0].persistent_resource, made[0].node_member, made[0].scale_command) == (None, None, None)
    assert recorded.outputs("GpuPool") == {"id": "pool", "machine": "g2-standard-48", "nodes": 4}


def test_the_network_attachment(record: Any) -> None:
    recorded = record(pool(VERTEX))
    found = recorded.inputs(ATTACHMENT, "pool-attachment")
    assert found.pop("description")
    assert found == {
        "region": "us-central1",
        "subnetworks": ["projects/acme-ml/regions/us-central1/subnetworks/net"],
        "connectionPreference": "ACCEPT_MANUAL",
    }
    made = recorded.one(ATTACHMENT, "pool-attachment")
    assert made.retainOnDelete, "Google refuses the delete for days after a job"
    assert list(made.ignoreChanges) == ["producerAcceptLists"], "Vertex AI's agent adds its project"
    grant = recorded.inputs("gcp:projects/iAMMember:IAMMember", "pool-attach-network")
    assert grant["member"] == "serviceAccount:service-123456789012@gcp-sa-aiplatform.iam.gserviceaccount.com"
    role = recorded.inputs("gcp:projects/iAMCustomRole:IAMCustomRole", "pool-attach-network-role")
    assert grant["role"] == "projects/acme-ml/roles/" + role["roleId"]
    assert all(word.startswith(("compute.networkAttachments.", "compute.regionOperations.")) for word in role["permissions"])


def test_no_attachment_to_a_network_of_the_yard(record: Any) -> None:
    """Nothing in it accepts connections from Vertex AI's machines."""
    made: list[Any] = []
    recorded = record(lambda: made.append(pool({**VERTEX, "min_nodes": 2}, own_network=network(egress="nat"))()))
    assert [line for line in kinds(recorded) if "ttach" in line] == []
    assert made[0].network_attachment is None
    assert "pscInterfaceConfig" not in recorded.inputs(HELD, "pool-held")


@pytest.mark.parametrize("preview", [False, True])
def test_the_persistent_resource(record: Any, preview: bool) -> None:
    recorded = record(pool(HOLDS), preview=preview)
    found = recorded.inputs(HELD, "pool-held")
    labels = found.pop("labels")
    assert labels == {"owner": "me-acme-io", "expires": f"{END}", "team": "nlp", "gpuyard_stack": "gpuyard-local", "name": "pool-held"}
    attachment = found.pop("pscInterfaceConfig")["networkAttachment"]
    assert preview or attachment == "projects/acme-ml/regions/us-central1/networkAttachments/pool-attachment"
    assert found == {
        "name": found["name"],
        "displayName": "pool-held",
        "location": "us-central1",
        "resourcePools": [
            {
                "machineSpec": {"machineType": "g2-standard-48", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 4},
                "diskSpec": {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 200},
                "autoscalingSpec": {"minReplicaCount": "2", "maxReplicaCount": "4"},
                "replicaCount": "2",
            }
        ],
        "resourceRuntimeSpec": {"serviceAccountSpec": {"enableCustomServiceAccount": True}},
    }
    assert found["name"].startswith("pool-held-")
    assert len(found["name"]) <= 63


def test_a_pool_that_cannot_grow_does_not_scale(record: Any) -> None:
    found = record(pool({**HOLDS, "min_nodes": 4})).inputs(HELD, "pool-held")["resourcePools"][0]
    assert "autoscalingSpec" not in found
    assert found["replicaCount"] == "4"


def test_the_persistent_resource_is_deleted_at_expiry(record: Any) -> None:
    recorded = record(pool(HOLDS))
    held = recorded.inputs(HELD, "pool-held")["name"]
    target = recorded.inputs(SCHEDULE, "pool-end")["httpTarget"]
    place = "https://us-central1-aiplatform.googleapis.com/v1/projects/acme-ml/locations/us-central1"
    assert (target["httpMethod"], target["uri"]) == ("DELETE", f"{place}/persistentResources/{held}")
    assert "body" not in target
    role = recorded.inputs("gcp:projects/iAMCustomRole:IAMCustomRole", "pool-end-delete-held-role")
    assert role["permissions"] == ["aiplatform.persistentResources.delete"]


def test_an_expired_pool_has_no_persistent_resource(record: Any) -> None:
    recorded = record(pool(HOLDS, {**TAGS, "expires": "2026-01-01"}))
    assert kinds(recorded) == ATTACHED
    assert any("has been at zero nodes since" in line for line in recorded.warnings)


@pytest.mark.parametrize("machine", sorted(name for name, row in MACHINES.items() if "vertex" in row.services and "on_demand" in row.modes))
def test_every_machine_can_be_a_persistent_resource(record: Any, machine: str) -> None:
    spec = record(pool({**HOLDS, "machine": machine, "max_nodes": 1, "min_nodes": 1})).inputs(HELD, "pool-held")["resourcePools"][0][
        "machineSpec"
    ]
    assert (spec["machineType"], spec["acceleratorCount"]) == (machine, MACHINES[machine].gpus)


def test_disks_of_persistent_resources_can_be_encrypted_with_a_key(record: Any) -> None:
    recorded = record(lambda: pool(HOLDS, key=EncryptionKey("k", uses=("aiplatform",)))())
    key = "projects/acme-ml/locations/us-central1/keyRings/k-ring/cryptoKeys/k-key"
    assert recorded.inputs(HELD, "pool-held")["encryptionSpec"] == {"kmsKeyName": key}
