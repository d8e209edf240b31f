"""Pools: what is made for each service and capacity, in an update and in a preview where nothing is known; its end; what is refused."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components import catalogue
from components.gcp import EncryptionKey
from components.gcp.instance_template import boot_of, scheduling, together
from components.gcp.machine_group import launcher_lines
from components.pool_spec import GpuPoolSpec
from components.services import SERVICES
from tests.support.gcp_yard import (
    FIREWALL,
    FLEX,
    GROUP,
    HELD,
    LATER,
    POLICY,
    RESERVED,
    SCHEDULE,
    TAGS,
    TEMPLATE,
    VERTEX,
    VMS,
    ZONE,
    kinds,
    pool,
)

MACHINES = catalogue.table("gcp").machines
L4 = {**VMS, "machine": "g2-standard-48"}
REQUEST = "gcp:compute/resizeRequest:ResizeRequest"
CAPACITY: dict[str, Any] = {"on_demand": "on_demand", "spot": "spot", "reservation": RESERVED, "flex_start": FLEX}


def spec(**more: Any) -> GpuPoolSpec:
    return GpuPoolSpec.model_validate({**VMS, **more}, context={"cloud": "gcp"})


@pytest.mark.parametrize("preview", [False, True])
def test_what_a_pool_of_machines_is(record: Any, preview: bool) -> None:
    recorded = record(pool(L4), preview=preview)
    assert kinds(recorded) == [
        "Firewall pool-nodes-in",
        "GpuPool pool",
        "Identity pool-end",
        "Identity pool-node",
        "InstanceGroupManager pool-machines",
        "InstanceTemplate pool-template",
        "Job pool-end",
        "Network net",
    ]
    assert set(recorded.outputs("GpuPool")) == {"id", "machine", "nodes", "scale", "hostfile", "torchrun"}


@pytest.mark.parametrize("preview", [False, True])
def test_vertex_has_machines_for_each_job(record: Any, preview: bool) -> None:
    recorded = record(pool(VERTEX), preview=preview)
    assert kinds(recorded) == ["GpuPool pool", "Network net", "NetworkAttachment pool-attachment"]


@pytest.mark.parametrize("preview", [False, True])
def test_vertex_holds_machines_and_gives_them_back_at_the_end(record: Any, preview: bool) -> None:
    recorded = record(pool({**VERTEX, "min_nodes": 1, "capacity": "on_demand"}), preview=preview)
    assert "AiPersistentResource pool-held" in kinds(recorded)
    held = recorded.inputs(HELD, "pool-held")
    [machines] = held["resourcePools"]
    assert machines["machineSpec"] == {"machineType": "g2-standard-48", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 4}
    assert (machines["replicaCount"], machines["autoscalingSpec"]) == ("1", {"minReplicaCount": "1", "maxReplicaCount": "2"})
    assert held["resourceRuntimeSpec"]["serviceAccountSpec"] == {"enableCustomServiceAccount": True}
    if not preview:
        target = recorded.inputs(SCHEDULE, "pool-end")["httpTarget"]
        assert target["httpMethod"] == "DELETE"
        assert f"/persistentResources/{held['name']}" in target["uri"]


def test_the_golden_template(record: Any) -> None:
    given_to = record(pool({**L4, "disk_gib": 300})).inputs(TEMPLATE, "pool-template")
    metadata = given_to.pop("metadata")
    assert "GPUS=4\nFAST_NICS=0\n" in metadata.pop("startup-script")
    assert metadata == {
        "enable-oslogin": "TRUE",
        "block-project-ssh-keys": "TRUE",
        "serial-port-enable": "FALSE",
        "google_disable_automatic_updates": "TRUE",
    }
    labels = {"owner": "ml-acme-io", "team": "nlp", "gpuyard_stack": "gpuyard-local", "name": "pool-node"}
    [disk] = given_to.pop("disks")
    assert disk.pop("sourceImage").startswith("https://")
    assert disk == {"boot": True, "autoDelete": True, "diskType": "pd-balanced", "diskSizeGb": 300, "labels": labels}
    email = given_to.pop("serviceAccount")["email"]
    assert email.endswith("@acme-ml.iam.gserviceaccount.com")
    assert given_to == {
        "machineType": "g2-standard-48",
        "networkInterfaces": [{"subnetwork": "projects/acme-ml/regions/us-central1/subnetworks/gpu", "nicType": "GVNIC"}],
        "canIpForward": False,
        "scheduling": {"onHostMaintenance": "TERMINATE", "provisioningModel": "STANDARD", "automaticRestart": True},
        "reservationAffinity": {"type": "NO_RESERVATION"},
        "shieldedInstanceConfig": {"enableVtpm": True, "enableIntegrityMonitoring": True, "enableSecureBoot": False},
        "labels": labels,
    }


def test_all_of_a_request_or_none(record: Any) -> None:
    group = record(pool({**L4, "min_nodes": 2})).inputs(GROUP, "pool-machines")
    assert (group["targetSize"], group["targetSizePolicies"], group["waitForInstances"]) == (2, [{"mode": "BULK"}], False)
    assert group["instanceLifecyclePolicy"] == {"defaultActionOnFailure": "REPAIR"}
    flex = record(pool({**L4, "min_nodes": 2, "capacity": FLEX}))
    assert flex.inputs(GROUP, "pool-machines")["targetSize"] == 0
    request = flex.inputs(REQUEST, "pool-request")
    assert (request["resizeBy"], request["requestedRunDuration"]) == (2, {"seconds": "86400"})
    assert not [line for line in kinds(flex) if line.startswith("Job ")]  # its own hours end it


def test_nodes_are_let_in_by_who_they_are(record: Any) -> None:
    recorded = record(pool(VMS))
    account = recorded.inputs(TEMPLATE, "pool-template")["serviceAccount"]["email"]
    for name in ("pool-nodes-in", "pool-fabric-0"):
        rule = recorded.inputs(FIREWALL, name)
        assert (rule["sourceServiceAccounts"], rule["targetServiceAccounts"]) == ([account], [account])
        assert "sourceRanges" not in rule


@pytest.mark.parametrize(
    ("machine", "capacity", "model"),
    [
        ("g2-standard-48", "on_demand", "STANDARD"),
        ("g2-standard-48", "spot", "SPOT"),
        ("g2-standard-48", RESERVED, "STANDARD"),
        ("a3-ultragpu-8g", RESERVED, "RESERVATION_BOUND"),
        ("a4x-highgpu-4g", RESERVED, "RESERVATION_BOUND"),
        ("a4-highgpu-8g", FLEX, "FLEX_START"),
    ],
)
def test_how_machines_are_bought(machine: str, capacity: Any, model: str) -> None:
    found = scheduling(spec(machine=machine, capacity=capacity), MACHINES[machine])
    assert (found["provisioning_model"], found["on_host_maintenance"]) == (model, "TERMINATE")
    assert (found.get("instance_termination_action") == "DELETE") == (model != "STANDARD")
    assert found.get("max_run_duration") == ({"seconds": 86_400} if model == "FLEX_START" else None)


def test_a_reservation_and_nothing_but_it(record: Any) -> None:
    template = record(pool({**VMS, "capacity": RESERVED})).inputs(TEMPLATE, "pool-template")
    named = {"key": "compute.googleapis.com/reservation-name", "values": ["projects/acme-ml/reservations/h200"]}
    assert template["reservationAffinity"] == {"type": "SPECIFIC_RESERVATION", "specificReservation": named}


@pytest.mark.parametrize(
    ("machine", "capacity", "policy"),
    [
        ("g2-standard-48", "on_demand", {}),
        ("a3-ultragpu-8g", "on_demand", {"group_placement_policy": {"collocation": "COLLOCATED"}}),
        ("a3-megagpu-8g", "spot", {"group_placement_policy": {"collocation": "COLLOCATED"}}),
        ("a3-ultragpu-8g", RESERVED, {}),
        ("a3-ultragpu-8g", FLEX, {"workload_policy": {"type": "HIGH_THROUGHPUT", "max_topology_distance": "BLOCK"}}),
        ("a3-megagpu-8g", FLEX, {}),
        ("a4x-highgpu-4g", RESERVED, {"workload_policy": {"type": "HIGH_THROUGHPUT", "accelerator_topology": "1x72"}}),
    ],
)
def test_machines_stand_together_where_it_helps(record: Any, machine: str, capacity: Any, policy: dict[str, Any]) -> None:
    assert together(spec(machine=machine, capacity=capacity), MACHINES[machine]) == policy
    recorded = record(pool({**VMS, "machine": machine, "capacity": capacity}))
    assert (f"{POLICY.rpartition(':')[2]} pool-placement" in kinds(recorded)) == bool(policy)
    assert ("resourcePolicies" in recorded.inputs(TEMPLATE, "pool-template")) == ("group_placement_policy" in policy)
    assert ("resourcePolicies" in recorded.inputs(GROUP, "pool-machines")) == ("workload_policy" in policy)


def test_a_key_of_ones_own_for_disks(record: Any) -> None:
    def program() -> None:
        pool(L4, key=EncryptionKey("disks", uses=("compute",), tags=TAGS))()

    [disk] = record(program).inputs(TEMPLATE, "pool-template")["disks"]
    assert disk["diskEncryptionKey"]["kmsKeySelfLink"].endswith("/cryptoKeys/disks-key")
    with pytest.raises(pulumi.RunError, match="a key that compute may use; make it with uses="):
        record(lambda: pool(L4, key=EncryptionKey("data", tags=TAGS))())


def test_the_end(record: Any) -> None:
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=90)).date()
    recorded = record(pool(L4, {**TAGS, "expires": soon.isoformat()}))
    job = recorded.inputs(SCHEDULE, "pool-end")
    assert (job["schedule"], job["timeZone"]) == (f"0 0 {soon.day} {soon.month} *", "Etc/UTC")
    target = job["httpTarget"]
    assert target["httpMethod"] == "POST"
    assert target["uri"].endswith(f"projects/acme-ml/zones/{ZONE}/instanceGroupManagers/pool-machines/resize?size=0")
    past = record(pool({**L4, "min_nodes": 2}, {**TAGS, "expires": "2020-01-01"}))
    assert past.inputs(GROUP, "pool-machines")["targetSize"] == 0
    assert "Job pool-end" not in kinds(past)
    assert "is at zero nodes since 2020-01-01" in past.warnings[0]
    assert not [
        line
        for line in kinds(record(pool({**VERTEX, "min_nodes": 1, "capacity": "on_demand"}, {"expires": "2020-01-01"})))
        if "held" in line
    ]


def test_a_schedule_knows_no_year(record: Any) -> None:
    far = record(pool(L4, {**TAGS, "expires": "2999-03-31"}))
    assert "Job pool-end" not in kinds(far)
    assert "is more than a year away" in far.warnings[0]


def test_a_new_date_replaces_no_machine(record: Any) -> None:
    first, second = (record(pool(L4, {**TAGS, "expires": date})).inputs(TEMPLATE, "pool-template") for date in (LATER, "2027-05-01"))
    assert first == second


@pytest.mark.parametrize("service", SERVICES["gcp"])
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("mode", CAPACITY)
def test_every_machine_service_and_capacity(record: Any, machine: str, service: str, mode: str) -> None:
    row = MACHINES[machine]
    program = pool({**VMS, "machine": machine, "service": service, "capacity": CAPACITY[mode]})
    if service not in row.services:
        with pytest.raises(pulumi.RunError, match=f"machine: got '{machine}', allowed: a machine that {service} can run"):
            record(program, preview=True)
    elif row.modes and mode not in row.modes:
        with pytest.raises(pulumi.RunError, match=f"allowed: {', '.join(row.modes)} for {machine}: it is sold no other way"):
            record(program, preview=True)
    else:
        assert "GpuPool pool" in kinds(record(program, preview=True))


def test_the_boot_script_looks_for_rdma_alone() -> None:
    assert (boot_of(MACHINES["a3-ultragpu-8g"]).fast_nics, boot_of(MACHINES["a3-ultragpu-8g"]).nic_driver) == (8, "mlx5_core")
    assert boot_of(MACHINES["a3-megagpu-8g"]).fast_nics == 0
    assert boot_of(MACHINES["g2-standard-48"]).disks == ""
    assert boot_of(MACHINES["a4-highgpu-8g"]).disks == "/dev/disk/by-id/google-local-nvme-ssd-*"


@pytest.mark.parametrize("capacity", ["on_demand", FLEX])
def test_lines_for_other_launchers(tmp_path: Path, capacity: Any) -> None:
    lines = launcher_lines("pool-1a2b", "acme-ml", ZONE, spec(capacity=capacity), 8, {"gpuyard_stack": "gpuyard-dev", "name": "pool-node"})
    fake = tmp_path / "gcloud"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> said\ncase "$*" in *instances\\ list*) printf "10.0.0.9\\n10.0.0.10\\n";; esac\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    for line in (lines.scale, lines.hostfile):
        subprocess.run(["bash", "-ec", line], cwd=tmp_path, env=environment, check=True)
    said = (tmp_path / "said").read_text(encoding="utf-8").splitlines()
    assert (tmp_path / "hosts").read_text(encoding="utf-8").split() == ["10.0.0.10", "10.0.0.9"]
    assert "--filter=status=RUNNING AND labels.gpuyard_stack=gpuyard-dev AND labels.name=pool-node" in said
    assert ("--requested-run-duration=24h" in said) == (capacity is FLEX)
    assert "--nproc-per-node=8" in lines.torchrun


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"zone": "us-central1-f"}, "zone: got 'us-central1-f', allowed: a zone of network net: us-central1-a, us-central1-b"),
        ({"image": "ubuntu"}, "image: got 'ubuntu', allowed: projects/P/global/images/NAME"),
        ({"capacity": {"mode": "reservation", "reservation": "mine"}}, "allowed: projects/P/zones/Z/reservations/NAME"),
        ({"zone": "us-central1-b", "capacity": RESERVED}, "allowed: us-central1-a, where the reservation is"),
        ({"service": "vertex", "image": "projects/p/global/images/i"}, "allowed: nothing where service is vertex"),
        ({"service": "vertex", "min_nodes": 1, "capacity": "spot"}, "min_nodes: got 1, allowed: 0 where service is vertex and capacity"),
        ({"capacity": {"mode": "capacity_block", "reservation": "cr-1", "ends": "2027-01-01T00:00:00Z"}}, "where service is vms"),
        ({"machine": "p5.48xlarge"}, "a machine of the catalogue"),
    ],
)
def test_what_google_would_refuse(record: Any, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(pool({**VMS, **changes}))
    assert told in str(caught.value)
    assert "nothing was changed" in str(caught.value)


def test_all_problems_at_once(record: Any) -> None:
    wrong = {**VMS, "zone": "mars", "image": "x", "max_nodes": 0, "capacity": {"mode": "reservation", "reservation": "mine"}}
    with pytest.raises(pulumi.RunError, match="4 problems") as caught:
        record(pool(wrong, {"expires": LATER}))
    assert json.dumps(str(caught.value)).count("  - ") == 4
