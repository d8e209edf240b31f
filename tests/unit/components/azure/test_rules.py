"""Azure's pure rules: names, subnets, InfiniBand, machines, buckets, roles, subjects, the closing workflow."""

from __future__ import annotations

import base64
import datetime
import email
import hashlib
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gpuyard.components import catalogue
from gpuyard.components.azure import bucket_rules, cidr, fabric, machine, names, roles, subjects
from gpuyard.components.azure.cluster import closing_workflow
from gpuyard.components.azure.images import image_problems, image_reference
from gpuyard.components.azure.job_targets import publish_command
from gpuyard.components.azure.key import key_properties, vault_properties
from gpuyard.components.azure.scale_set import autoscale_profiles, launcher_commands
from gpuyard.components.bucket_base import namespace_problems
from gpuyard.components.expiry import End
from gpuyard.components.spec.pool import GpuPoolSpec
from tests.fakes.azure.logic_app import FakeAzure, WorkflowRun
from tests.helpers.azure_sample_yard import DATA, RESERVED, VMS

ROWS = catalogue.table("azure").machines
Net = ipaddress.IPv4Network
FAST = [row.name for row in ROWS.values() if row.fast_nics]
END = End(datetime.datetime(2027, 3, 31, tzinfo=datetime.UTC), "the yard expires on 2027-03-31")


def spec(**more: Any) -> GpuPoolSpec:
    return GpuPoolSpec.model_validate({**VMS, **more}, context={"cloud": "azure"})


@given(st.text(max_size=80), st.from_regex(r"[a-z][a-z0-9-]{0,38}[a-z0-9]", fullmatch=True))
def test_names_are_legal_and_differ_between_groups(group: str, name: str) -> None:
    account, vault = names.account_name(group, name), names.vault_name(group, name)
    assert re.fullmatch(r"[a-z0-9]{3,24}", account)
    assert re.fullmatch(r"[a-z][a-z0-9]{2,23}", vault)
    assert names.account_name(group, name) == account != names.account_name(f"{group}x", name)
    assert re.fullmatch(r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]", names.container_name(name))
    cluster = names.cluster_name(name)
    assert re.fullmatch(r"[a-zA-Z](?![a-zA-Z0-9-]*-\d+$)[a-zA-Z0-9-]{2,23}", cluster)


@given(st.integers(16, 22), st.sampled_from(["10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10"]), st.integers(0, 63))
def test_subnets_are_inside_the_network_and_do_not_overlap(length: int, block: str, number: int) -> None:
    base = int(Net(block).network_address) + number * 2 ** (32 - length)
    network = Net((base, length))
    plan = cidr.plan_subnets(str(network))
    nodes, endpoints = Net(plan.nodes), Net(plan.endpoints)
    assert nodes.subnet_of(network)
    assert endpoints.subnet_of(network)
    assert not nodes.overlaps(endpoints)
    assert nodes.num_addresses * 2 == network.num_addresses
    assert endpoints.num_addresses == 64


@pytest.mark.parametrize(
    ("problems", "expected"),
    [
        (
            cidr.cidr_problems("10.0.0.0/24"),
            ["cidr: wrong network size, got '10.0.0.0/24', allowed: a network of /16 to /22; write 10.0.0.0/22"],
        ),
        (
            cidr.zone_problems([]),
            ['zones: no zone, got none, allowed: at least one of 1, 2, 3; list the zones of the pools, such as ["1"]'],
        ),
        (
            cidr.zone_problems(["eastus-1"]),
            ["zones: not the number of a zone, got 'eastus-1', allowed: 1, 2, 3, quoted; write the zone without the region"],
        ),
        (image_problems("ubuntu"), ["image: not an image, got 'ubuntu', allowed: PUBLISHER:OFFER:SKU:VERSION"]),
        (image_problems("microsoft-dsvm:ubuntu-hpc:2204:latest"), []),
        (
            bucket_rules.container_id_problems("acme"),
            ["existing: not the id of a container, got 'acme', allowed: the resource id of a container"],
        ),
        (bucket_rules.container_id_problems(DATA), []),
        (
            namespace_problems("deep"),
            ["namespace: unknown kind of namespace, got 'deep', allowed: flat (with object versions) or hierarchical (without)"],
        ),
        (subjects.exact_subject_problems(["repo:a/b:ref:refs/heads/main"]), []),
        (
            subjects.exact_subject_problems(["repo:a/b:ref:refs/tags/*"]),
            ["submitters.0: Azure compares subjects exactly and expands no *, got 'repo:a/b:ref:refs/tags/*', allowed: a complete subject"],
        ),
        (subjects.exact_subject_problems(["repo:a/b:x"] * 2), ["submitters: a submitter is listed twice"]),
        (
            subjects.exact_subject_problems([f"repo:a/b:{n}" for n in range(21)]),
            ["submitters: too many subjects, got 21, allowed: at most 20"],
        ),
    ],
)
def test_wrong_values_are_reported(problems: list[str], expected: list[str]) -> None:
    assert len(problems) == len(expected), problems
    assert all(str(line).startswith(begin) for line, begin in zip(problems, expected, strict=True)), problems


@pytest.mark.parametrize("name", ROWS)
def test_infiniband_rules_of_every_size(name: str) -> None:
    row = ROWS[name]
    uniform = {
        "orchestration_mode": "Uniform",
        "platform_fault_domain_count": 1,
        "overprovision": False,
        "upgrade_policy": {"mode": "Manual"},
    }
    assert fabric.placement_arguments(row, "uniform") == {
        **uniform,
        "single_placement_group": "sr_" in name or name == "Standard_ND128isr_NDR_GB200_v6",
    }
    assert fabric.placement_arguments(row, "flexible") == {"orchestration_mode": "Flexible", "platform_fault_domain_count": 1}
    refused = fabric.fabric_problems(row, 1, "flexible", {"service": "vms"})
    assert bool(refused) == (name in FAST)
    too_many = fabric.fabric_problems(row, 101, "uniform", {"service": "vms"})
    assert any(
        str(line).startswith("max_nodes: InfiniBand does not cross placement groups, got 101, allowed: 1 to 100") for line in too_many
    ) == (name in FAST)


@pytest.mark.parametrize("name", ROWS)
def test_only_nc_a100_v4_can_be_reserved(name: str) -> None:
    """learn.microsoft.com/azure/virtual-machines/capacity-reservation-overview of 2026-02-17 lists the series."""
    given = {"machine": name, "service": "vms", "zone": "1", "max_nodes": 1, "capacity": RESERVED}
    if name.startswith("Standard_NC") and name.endswith("A100_v4"):
        assert GpuPoolSpec.model_validate(given, context={"cloud": "azure"}).mode == "reservation"
        return
    with pytest.raises(ValidationError, match=f"allowed: on_demand, spot for {name}"):
        GpuPoolSpec.model_validate(given, context={"cloud": "azure"})


def test_a_size_without_rdma_is_refused_for_several_nodes_and_the_rdma_size_named() -> None:
    row = ROWS["Standard_ND96is_H100_v5"]
    [problem] = fabric.fabric_problems(row, 2, "uniform", {"service": "azureml"})
    assert str(problem).startswith(
        "machine: a size without the letter r has no InfiniBand, so several nodes would train over Ethernet, "
        "got 'Standard_ND96is_H100_v5', allowed: Standard_ND96isr_H100_v5 for several nodes"
    )
    assert [row.name for row in ROWS.values() if fabric.rdma_twin(row)] == ["Standard_ND96is_H100_v5"]
    cheap = ROWS["Standard_NC24ads_A100_v4"]
    assert fabric.fabric_problems(cheap, 2, "uniform", {"service": "azureml"}) == []
    [floor] = fabric.fabric_problems(cheap, 2, "uniform", {"service": "azureml", "fabric_floor": 0.7})
    assert str(floor).startswith("fabric_floor: Standard_NC24ads_A100_v4 has no InfiniBand, got 0.7; remove fabric_floor")


TRUSTED = {"security_type": "TrustedLaunch", "uefi_settings": {"v_tpm_enabled": True, "secure_boot_enabled": False}}


@pytest.mark.parametrize(
    ("name", "trusted", "local_disk"),
    [
        ("Standard_NC24ads_A100_v4", True, False),
        ("Standard_NC40ads_H100_v5", True, False),
        ("Standard_ND96asr_v4", False, False),
        ("Standard_ND96amsr_A100_v4", False, True),
        ("Standard_ND96isr_H100_v5", True, True),
        ("Standard_ND96isr_H200_v5", True, True),
        ("Standard_ND128isr_NDR_GB200_v6", False, False),
    ],
)
def test_security_profile_and_os_disk_by_size(name: str, trusted: bool, local_disk: bool) -> None:
    row = ROWS[name]
    assert machine.security(row) == {"encryption_at_host": True, **(TRUSTED if trusted else {})}
    disk = machine.os_disk(spec(), row)
    assert ("diff_disk_settings" in disk) == local_disk
    assert ("managed_disk" in disk) != local_disk
    assert "managed_disk" in machine.os_disk(spec(disk_gib=8000), row)  # larger than any temporary disk


def test_priority_and_reservation_by_capacity() -> None:
    assert machine.capacity_options(spec()) == {"priority": "Regular"}
    spot = machine.capacity_options(spec(capacity="spot"))
    assert spot == {"priority": "Spot", "eviction_policy": "Delete", "billing_profile": {"max_price": -1}}
    group = {"capacity_reservation_group": {"id": RESERVED["reservation"]}}
    reserved = spec(machine="Standard_NC96ads_A100_v4", capacity=RESERVED)
    assert machine.capacity_options(reserved) == {"priority": "Regular", "capacity_reservation": group}


def test_custom_data_has_the_facts_of_the_machine() -> None:
    data = base64.b64decode(machine.custom_data(machine.boot_of(ROWS["Standard_ND96isr_H100_v5"]))).decode()
    part: Any = email.message_from_string(data).get_payload(0)
    text = part.get_payload()
    assert "GPUS=8\nFAST_NICS=8\nNIC_DRIVER=mlx5_core\n" in text
    assert "DISKS='/dev/disk/by-id/nvme-Microsoft_NVMe_Direct_Disk*'" in text
    assert len(machine.custom_data(machine.boot_of(ROWS["Standard_ND96isr_H100_v5"]))) < 65_535  # the limit of Azure


def test_nobody_has_the_private_key_of_the_default_ssh_key() -> None:
    raw = base64.b64decode(machine.NOBODYS_KEY.split()[1])[-32:]
    assert raw == hashlib.sha256(b"gpuyard: nobody holds the private half of this key 5").digest()
    prime = 2**255 - 19  # a point on the curve, so Azure accepts it: x^2 = (y^2 - 1) / (d y^2 + 1) must be a square
    d = -121665 * pow(121666, -1, prime) % prime
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    x_squared = (y * y - 1) * pow(d * y * y + 1, -1, prime) % prime
    assert y < prime
    assert pow(x_squared, (prime - 1) // 2, prime) == 1


def test_a_storage_account_is_open_only_to_open_to() -> None:
    closed, office, open_ = (bucket_rules.account_settings(to, None) for to in ([], ["203.0.112.0/24"], ["internet"]))
    assert (closed["public_network_access"], closed["network_rule_set"]) == (
        "Disabled",
        {"default_action": "Deny", "bypass": "AzureServices"},
    )
    assert office["public_network_access"] == "Enabled"
    assert office["network_rule_set"]["default_action"] == "Deny"
    assert office["network_rule_set"]["ip_rules"] == [{"action": "Allow", "i_p_address_or_range": "203.0.112.0/24"}]
    assert (open_["network_rule_set"]["default_action"], "ip_rules" in open_["network_rule_set"]) == ("Allow", False)
    for each in (closed, office, open_):
        assert (each["allow_shared_key_access"], each["allow_blob_public_access"], each["minimum_tls_version"]) == (False, False, "TLS1_2")


def test_no_lifecycle_rule_deletes_current_blobs() -> None:
    for versions in (True, False):
        rules: list[Any] = bucket_rules.lifecycle("runs", versions)
        assert {action for rule in rules for action in rule["definition"]["actions"]} == {"version" if versions else "snapshot"}
        assert rules[0]["definition"]["filters"]["prefix_match"] == ["runs/gpuyard/runs/"]
    assert bucket_rules.blob_settings(False)["is_versioning_enabled"] is False


def test_keys_rotate_before_they_expire_and_vaults_cannot_be_purged() -> None:
    policy: Any = key_properties()["rotation_policy"]
    assert policy["lifetime_actions"][0] == {"action": {"type": "rotate"}, "trigger": {"time_after_create": "P1Y"}}
    vault = vault_properties("t")
    assert (vault["enable_purge_protection"], vault["soft_delete_retention_in_days"], vault["public_network_access"]) == (
        True,
        90,
        "Disabled",
    )


def test_roles_have_a_reason_and_ids_of_their_own() -> None:
    guids = {role.name: role.guid for role in roles.ROLES}
    assert {(role.name, role.guid) for role in roles.ROLES} == set(guids.items())  # a role with two uses has one id
    assert len(set(guids.values())) == len(guids)
    assert all(role.why and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(role.guid)) for role in roles.ROLES)
    assert roles.assignment_name("/a", "reader", "p") != roles.assignment_name("/a", "writer", "p")


def test_expiry_is_an_autoscale_profile_and_a_closing_workflow() -> None:
    [pool, end] = autoscale_profiles(spec(min_nodes=1), END, closed=False)
    assert pool["capacity"] == {"minimum": "1", "maximum": "4", "default": "1"}
    assert end["capacity"] == {"minimum": "0", "maximum": "0", "default": "0"}
    assert end["fixed_date"]["start"] == "2027-03-31T00:00:00Z"
    [closed] = autoscale_profiles(spec(min_nodes=1), END, closed=True)
    assert closed["capacity"]["maximum"] == "0"


@pytest.mark.parametrize(
    ("nodes", "deleted"),
    [
        ({"running": 0, "preparing": 0, "idle": 2}, True),
        ({"running": 1, "preparing": 0}, False),
        ({"running": 0, "preparing": 1}, False),
        ({}, False),
    ],
)
def test_the_closing_workflow_deletes_only_clusters_without_jobs(nodes: dict[str, int], deleted: bool) -> None:
    """A cluster that reports no numbers of nodes stays."""
    flow = closing_workflow("/subscriptions/s/w", {"h100": "h100"}, END)
    assert flow["triggers"]["end"]["recurrence"] == {"frequency": "Hour", "interval": 1, "startTime": "2027-03-31T00:00:00Z"}
    calls = []

    class Clusters(FakeAzure):
        def request(self, method: str, uri: str, queries: Mapping[str, Any], body: Any) -> Any:
            calls.append((method, uri, queries.get("underlyingResourceAction")))
            counts = {f"{state}NodeCount": number for state, number in nodes.items()}
            return {"properties": {"properties": {"nodeStateCounts": counts}}}

    WorkflowRun(Clusters(), None).do(flow["actions"])
    where = "https://management.azure.com/subscriptions/s/w/computes/h100"
    assert calls == [("GET", where, None), *([("DELETE", where, "Delete")] if deleted else [])]


def test_commands_for_users_and_image_references() -> None:
    lines = launcher_commands("n", "g", 4, 8)
    assert lines.scale == "az vmss scale --resource-group g --name n --new-capacity 4"
    assert "--vmss-name n" in lines.hostfile
    assert "--nproc-per-node=8" in lines.torchrun
    assert publish_command("dev", "abfs://runs@acme.dfs.core.windows.net").endswith(
        "--account-name acme --container-name runs --name gpuyard/targets.json --file targets.json"
    )
    assert image_reference("a:b:c:1.2.3") == {"publisher": "a", "offer": "b", "sku": "c", "version": "1.2.3"}
    assert image_reference("/subscriptions/x") == {"id": "/subscriptions/x"}
