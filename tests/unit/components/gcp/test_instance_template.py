"""Instance templates: scheduling by capacity as a golden table, metadata and images, no secrets and no external addresses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpuyard.components.gcp.instance_template import boot_of, metadata, placement_policy, reservation, scheduling
from gpuyard.components.gcp.machines import family, image_family
from tests.helpers.gcp_sample_pools import CAPACITIES, MACHINES, RESERVED, VMS, pool, spec_of
from tests.helpers.gcp_sample_yard import TEMPLATE

ANY = {"on_host_maintenance": "TERMINATE"}
STANDARD = {**ANY, "provisioning_model": "STANDARD", "automatic_restart": True}
# Scheduling by capacity: cloud.google.com/compute/docs/instances/provisioning-models
SCHEDULING: dict[str, dict[str, Any]] = {
    "on_demand": STANDARD,
    "spot": {
        **ANY,
        "provisioning_model": "SPOT",
        "preemptible": True,
        "automatic_restart": False,
        "instance_termination_action": "DELETE",
    },
    "flex_start": {
        **ANY,
        "provisioning_model": "FLEX_START",
        "automatic_restart": False,
        "instance_termination_action": "DELETE",
        "max_run_duration": {"seconds": 86_400},
    },
    "reservation": {
        **ANY,
        "provisioning_model": "RESERVATION_BOUND",
        "instance_termination_action": "DELETE",
        "automatic_restart": True,
    },
}
BOUND = {"a3-ultragpu-8g", "a4-highgpu-8g", "a4x-highgpu-4g", "a4x-maxgpu-4g-metal"}


@pytest.mark.parametrize("mode", SCHEDULING)
@pytest.mark.parametrize("machine", ["g2-standard-48", "a3-megagpu-8g", "a3-ultragpu-8g", "a4-highgpu-8g"])
def test_scheduling_by_capacity(mode: str, machine: str) -> None:
    """Machines from a dense reservation are bound to it. Machines from other reservations are scheduled like on-demand ones."""
    if mode not in (MACHINES[machine].modes or SCHEDULING):
        pytest.skip("Google does not sell it")
    spec, row = spec_of({**VMS, "machine": machine, "capacity": CAPACITIES[mode]}), MACHINES[machine]
    wanted = STANDARD if mode == "reservation" and machine not in BOUND else SCHEDULING[mode]
    assert scheduling(spec, row) == wanted


@pytest.mark.parametrize("mode", SCHEDULING)
def test_a_pool_uses_its_reservation_or_none(mode: str) -> None:
    """Compute Engine names a reservation without its zone: projects/P/reservations/NAME."""
    found = reservation(spec_of({**VMS, "capacity": CAPACITIES[mode]}))
    if mode != "reservation":
        assert found == {"type": "NO_RESERVATION"}  # flex start allows no other affinity
        return
    named = {"key": "compute.googleapis.com/reservation-name", "values": ["projects/acme-ml/reservations/h200-block"]}
    assert found == {"type": "SPECIFIC_RESERVATION", "specific_reservation": named}


COMPACT = {"group_placement_policy": {"collocation": "COLLOCATED"}}
NVLINK = {"workload_policy": {"type": "HIGH_THROUGHPUT", "accelerator_topology": "1x72"}}
BLOCK = {"workload_policy": {"type": "HIGH_THROUGHPUT", "max_topology_distance": "BLOCK"}}


@pytest.mark.parametrize(
    ("machine", "mode", "policy"),
    [
        ("g2-standard-48", "on_demand", {}),
        ("a3-megagpu-8g", "on_demand", COMPACT),
        ("a3-ultragpu-8g", "spot", COMPACT),
        ("a3-ultragpu-8g", "reservation", {}),
        ("a3-ultragpu-8g", "flex_start", BLOCK),
        ("a3-megagpu-8g", "flex_start", {}),
        ("a4x-highgpu-4g", "reservation", NVLINK),
        ("a4x-maxgpu-4g-metal", "reservation", NVLINK),
    ],
)
def test_placement_policy_by_machine_and_capacity(machine: str, mode: str, policy: dict[str, Any]) -> None:
    assert placement_policy(spec_of({**VMS, "machine": machine, "capacity": CAPACITIES[mode]}), MACHINES[machine]) == policy


def test_the_golden_template(record: Any) -> None:
    found = record(pool({**VMS, "machine": "g2-standard-48"})).inputs(TEMPLATE, "pool-template")
    labels = {"owner": "me-acme-io", "team": "nlp", "gpuyard_stack": "gpuyard-local", "name": "pool-node"}
    assert found.pop("metadata").keys() == metadata(MACHINES["g2-standard-48"]).keys()
    assert found == {
        "machineType": "g2-standard-48",
        "canIpForward": False,
        "disks": [
            {
                "boot": True,
                "autoDelete": True,
                "sourceImage": "https://www.googleapis.com/compute/v1/projects/images/global/images/image-1",
                "diskType": "pd-balanced",
                "diskSizeGb": 200,
                "labels": labels,
            }
        ],
        "labels": labels,
        "networkInterfaces": [{"nicType": "GVNIC", "subnetwork": "projects/acme-ml/regions/us-central1/subnetworks/net"}],
        "reservationAffinity": {"type": "NO_RESERVATION"},
        "scheduling": {"onHostMaintenance": "TERMINATE", "provisioningModel": "STANDARD", "automaticRestart": True},
        "serviceAccount": {
            "email": "pool-node-ccf39b53@acme-ml.iam.gserviceaccount.com",
            "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
        },
        "shieldedInstanceConfig": {"enableVtpm": True, "enableIntegrityMonitoring": True, "enableSecureBoot": False},
    }


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_metadata_of_every_machine(name: str) -> None:
    row = MACHINES[name]
    found = metadata(row)
    script = found.pop("startup-script")
    assert found == {
        "enable-oslogin": "TRUE",
        "block-project-ssh-keys": "TRUE",
        "serial-port-enable": "FALSE",
        "google_disable_automatic_updates": "TRUE",
    }
    assert (
        len(script.encode()) < 256 * 1024
    )  # limit of one value: cloud.google.com/compute/docs/metadata/setting-custom-metadata#limitations
    assert f"GPUS={row.gpus}\n" in script
    assert ("NIC_DRIVER=mlx5_core" in script) == (name in BOUND)
    assert ("/dev/disk/by-id/google-local-nvme-ssd-*" in script) == bool(row.local_nvme_gb)


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_every_machine_has_a_family_a_disk_and_an_image(name: str) -> None:
    row = MACHINES[name]
    assert family(row).disk in ("pd-balanced", "pd-ssd", "hyperdisk-balanced")
    assert (family(row).accelerator is not None) == ("vertex" in row.services)
    assert image_family(row) == f"ubuntu-accelerator-2404-{'arm64' if name.startswith('a4x') else 'amd64'}-with-nvidia-580"
    assert boot_of(row).fast_nics == (row.fast_nics if name in BOUND else 0)


def test_a_template_has_no_secret(record: Any) -> None:
    recorded = record(pool(VMS), config={"gpuyard:token": "hunter2"}, secret=("gpuyard:token",))
    text = json.dumps(recorded.inputs(TEMPLATE, "pool-template"))
    assert not [word for word in ("hunter2", "BEGIN", "password", "ssh-rsa", "AIza", "token") if word in text]


@pytest.mark.parametrize("preview", [False, True])
def test_a_given_image_is_not_looked_up(record: Any, preview: bool) -> None:
    own = "projects/acme-ml/global/images/train-2026-11"
    recorded = record(pool({**VMS, "image": own}), preview=preview)
    assert recorded.inputs(TEMPLATE, "pool-template")["disks"][0]["sourceImage"] == own
    assert "gcp:compute/getImage:getImage" not in recorded.lookups
    assert "gcp:compute/getImage:getImage" in record(pool(VMS), preview=True).lookups


def test_a_compact_policy_is_in_the_template_and_a_workload_policy_in_the_group(record: Any) -> None:
    spot = record(pool({**VMS, "capacity": "spot"})).inputs(TEMPLATE, "pool-template")
    assert spot["resourcePolicies"] == "projects/acme-ml/regions/us-central1/resourcePolicies/pool-placement"
    bound = record(pool({**VMS, "machine": "a4x-highgpu-4g", "capacity": RESERVED}))
    assert "resourcePolicies" not in bound.inputs(TEMPLATE, "pool-template")
