"""GCP's pools: resources for each service and capacity, in preview and update, and the inputs that they refuse."""

from __future__ import annotations

import itertools
from typing import Any

import pulumi
import pytest
from pydantic import ValidationError

from gpuyard.components.catalogue.services import SERVICES
from gpuyard.components.gcp import EncryptionKey, GpuPool, Network
from gpuyard.components.gcp.pool_rules import pool_problems
from tests.helpers.gcp_sample_pools import CAPACITIES, MACHINES, RESERVED, VERTEX, VMS, kinds, of_type, pool, spec_of
from tests.helpers.gcp_sample_yard import FIREWALL, TEMPLATE, ZONE

ONE_CARD = {**VMS, "machine": "g2-standard-48"}


@pytest.mark.parametrize("preview", [False, True])
def test_children_of_a_pool_of_machines(record: Any, preview: bool) -> None:
    recorded = record(pool(ONE_CARD), preview=preview)
    assert kinds(recorded) == [
        "AlertPolicy pool-replacements",
        "Firewall pool-nodes-in",
        "Firewall pool-people-in",
        "GpuPool pool",
        "Identity pool-end",
        "Identity pool-node",
        "Identity pool-replacements",
        "InstanceGroupManager pool-machines",
        "InstanceTemplate pool-template",
        "Job pool-end",
        "Job pool-replacements",
        "Workflow pool-replacements",
    ]
    assert recorded.warnings == []
    assert set(recorded.outputs("GpuPool")) == {"id", "machine", "nodes", "scale", "hostfile", "torchrun"}


def test_ingress_rules(record: Any) -> None:
    """Machines of the pool reach each other by service account. Users reach them by SSH through Google's proxy. Nothing else can."""
    recorded = record(pool(ONE_CARD))
    rules = of_type(recorded, FIREWALL)
    assert all(rule.pop("description") and rule.pop("logConfig") for rule in rules.values())
    account = "pool-node-ccf39b53@acme-ml.iam.gserviceaccount.com"
    shared = {"network": "projects/acme-ml/global/networks/net", "direction": "INGRESS", "targetServiceAccounts": [account]}
    assert rules == {
        "pool-nodes-in": {**shared, "allows": [{"protocol": "all"}], "sourceServiceAccounts": [account]},
        "pool-people-in": {**shared, "allows": [{"protocol": "tcp", "ports": ["22"]}], "sourceRanges": ["35.235.240.0/20"]},
    }


@pytest.mark.parametrize(("project", "expected"), [("acme-ml", None), ("acme-host", "acme-host")])
def test_rules_for_a_shared_network_are_in_its_host_project(record: Any, project: str, expected: str | None) -> None:
    """Google refuses a rule that names a network of another project."""

    def program() -> None:
        where = f"projects/{project}"
        network = Network.adopt(
            "net", vpc_id=f"{where}/global/networks/n", subnet_ids={"us-central1-a": f"{where}/regions/us-central1/subnetworks/s"}
        )
        spec = {"machine": "g2-standard-48", "zone": "us-central1-a", "max_nodes": 1, "service": "vms"}
        GpuPool("l4", spec, network=network)

    recorded = record(program)
    for name in ("l4-nodes-in", "l4-people-in"):
        assert recorded.inputs("gcp:compute/firewall:Firewall", name).get("project") == expected


def test_the_template_waits_for_the_roles_of_its_account(record: Any) -> None:
    """Three roles on the project, which cannot be granted on a narrower resource."""
    recorded = record(pool(ONE_CARD))
    needs = recorded.one(TEMPLATE, "pool-template").propertyDependencies["serviceAccount"].urns
    grants = {f"pool-node-{key}" for key in ("write-logs", "write-metrics", "pull-images")}
    assert {urn.rpartition("::")[2] for urn in needs} == {"pool-node-account", *grants}


CASES = list(itertools.product(sorted(MACHINES), sorted(SERVICES["gcp"]), CAPACITIES))
# One machine of each fabric and kind of reservation. The others differ only in the tables.
# Their network needs a program beside the container, which a CustomJob cannot start.
MACHINES_ALONE = ("a3-highgpu-8g", "a3-megagpu-8g")
KINDS = ("g2-standard-48", "a3-highgpu-2g", "a3-highgpu-8g", "a3-ultragpu-8g", "a4x-highgpu-4g", "a4x-maxgpu-4g-metal")


def is_offered(machine: str, service: str, mode: str) -> bool:
    """Return whether the tables offer the capacity for the machine and the service."""
    row = MACHINES[machine]
    return service in row.services and mode in (row.modes or SERVICES["gcp"][service].modes)


def spec_for(machine: str, service: str, mode: str, nodes: int = 4) -> dict[str, Any]:
    return {"service": service, "machine": machine, "zone": ZONE, "max_nodes": nodes, "capacity": CAPACITIES[mode]}


@pytest.mark.parametrize(("machine", "service", "mode"), CASES)
def test_every_capacity_service_and_machine_is_valid_or_refused_with_a_reason(machine: str, service: str, mode: str) -> None:
    for nodes in (1, 4):
        spec = spec_for(machine, service, mode, nodes)
        alone = nodes == 4 and service == "vertex" and machine in MACHINES_ALONE and is_offered(machine, service, mode)
        found = pool_problems(spec, "net", [ZONE], None)
        assert [problem.key for problem in found] == (["max_nodes"] if alone else [])
        if is_offered(machine, service, mode):
            assert spec_of(spec).row("gcp").name == machine
            continue
        with pytest.raises(ValidationError) as caught:
            spec_of(spec)
        (error,) = caught.value.errors()
        assert (
            "its only purchase modes on this cloud" if service in MACHINES[machine].services else f"a machine that {service} can run"
        ) in error["msg"]


@pytest.mark.parametrize("preview", [False, True])
def test_every_accepted_combination_can_be_made(record: Any, preview: bool) -> None:
    able = [case for case in CASES if case[0] in KINDS and is_offered(*case)]
    nodes = {case: 1 if case[1] == "vertex" and case[0] in MACHINES_ALONE else 4 for case in able}
    recorded = record(
        lambda: [pool(spec_for(*case, nodes[case]), name=f"p{number}")() for number, case in enumerate(able)], preview=preview
    )
    assert len([line for line in kinds(recorded) if line.startswith("GpuPool")]) == len(able) > 25


def test_disks_can_be_encrypted_with_a_key(record: Any) -> None:
    recorded = record(lambda: pool(ONE_CARD, key=EncryptionKey("k", uses=("compute",)))())
    key = "projects/acme-ml/locations/us-central1/keyRings/k-ring/cryptoKeys/k-key"
    assert recorded.inputs(TEMPLATE, "pool-template")["disks"][0]["diskEncryptionKey"] == {"kmsKeySelfLink": key}
    with pytest.raises(
        pulumi.RunError,
        match=r"key: cannot encrypt the pool's disks, got k, allowed: a key that compute can use; create it with uses=\('compute',\)",
    ):
        record(lambda: pool(ONE_CARD, key=EncryptionKey("k"))())


BOUND = {**VMS, "machine": "a3-ultragpu-8g", "capacity": RESERVED}
NVLINK = {**BOUND, "machine": "a4x-highgpu-4g"}
ELSEWHERE = {"mode": "reservation", "reservation": "projects/acme-ml/zones/us-east4-b/reservations/x"}


@pytest.mark.parametrize(
    ("spec", "tags", "expected"),
    [
        (
            {**VMS, "zone": "us-east4-a"},
            {},
            ["zone: network net has no subnet in this zone, got 'us-east4-a', allowed: us-central1-a, us-central1-b"],
        ),
        (
            {**VMS, "image": "ubuntu"},
            {},
            ["image: not an image, got 'ubuntu', allowed: projects/P/global/images/NAME; remove image and run `gpuyard pin`"],
        ),
        ({**VERTEX, "image": "projects/p/global/images/i"}, {}, ["allowed: no image for service: vertex"]),
        (
            {**VMS, "capacity": {**RESERVED, "reservation": "block-7"}},
            {},
            ["capacity.reservation: not the name of a reservation, got 'block-7', allowed: projects/P/"],
        ),
        ({**VMS, "capacity": ELSEWHERE}, {}, ["zone: the reservation is in another zone, got 'us-central1-a', allowed: us-east4-b"]),
        (
            {**VERTEX, "zone": None, "capacity": ELSEWHERE},
            {},
            ["capacity.reservation: the reservation is in another region, got", "a reservation in us-central1, the region of the network"],
        ),
        (
            {**VERTEX, "min_nodes": 1, "capacity": "spot"},
            {},
            ["min_nodes: Vertex AI keeps only on-demand machines running, got 1, allowed: 0 unless capacity is on_demand"],
        ),
        ({**VERTEX, "disk_gib": 60}, {}, ["disk_gib: disk too small, got 60, allowed: 100 or more for service: vertex"]),
        (
            {**BOUND, "min_nodes": 2},
            {},
            ["min_nodes: an instance group starts the machines of a reservation all at once, got 2, allowed: 0 or max_nodes (4)"],
        ),
        (
            {**NVLINK, "max_nodes": 19},
            {},
            ["max_nodes: more nodes than one NVLink domain has, got 19, allowed: at most 18 of a4x-highgpu-4g"],
        ),
        (
            {**VMS, "machine": "a3-ultragpu-8g"},
            {},
            ["capacity: wrong value, got 'on_demand'", "spot, reservation, flex_start for a3-ultragpu"],
        ),
        ({**VMS, "machine": "a3-highgpu-2g"}, {}, ["capacity: wrong value, got 'on_demand'", "spot, flex_start for a3-highgpu-2g"]),
        (
            {**VERTEX, "machine": "a3-megagpu-8g"},
            {},
            ["max_nodes: a job on Vertex AI cannot start the receive-datapath manager", "got 4, allowed: 1 for a3-megagpu-8g with service"],
        ),
        ({**VMS, "keep_alive_minutes": 5}, {}, ["keep_alive_minutes: wrong value, got 5, allowed: 0 for service: vms"]),
        (VMS, {"expires": "tomorrow"}, ["tags.expires: not a date, got 'tomorrow', allowed: a quoted date"]),
        (VMS, {"Team": "nlp"}, ["tags: not a valid label key, got 'Team', allowed: a lower-case letter"]),
        (
            {**VMS, "machine": "a3-ultragpu-8", "zone": "x", "image": "y", "disk_gib": 1},
            {},
            ["did you mean a3-ultragpu-8g", "zone:", "image:", "disk_gib:"],
        ),
    ],
)
def test_all_wrong_inputs_are_reported_before_anything_is_made(
    record: Any, spec: dict[str, Any], tags: dict[str, str], expected: list[str]
) -> None:
    with pytest.raises(pulumi.RunError) as error:
        record(pool(spec, tags))
    assert str(error.value).startswith("GpuPool pool: ")
    assert [words for words in expected if words not in str(error.value)] == [], str(error.value)


@pytest.mark.parametrize(
    "spec", [{**BOUND, "min_nodes": 4}, BOUND, {**NVLINK, "max_nodes": 18}, {**VERTEX, "zone": None, "capacity": RESERVED}]
)
def test_inputs_at_the_limits_are_accepted(record: Any, spec: dict[str, Any]) -> None:
    assert record(pool(spec)).one("gpuyard-gcp:index:GpuPool", "pool")
