"""Azure's job service in a whole yard, in preview and update: children, roles, network access, targets, and the inputs that it refuses."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

from gpuyard.components.azure import Bucket, GpuPool, JobService, Network
from gpuyard.components.azure.roles import ROLES
from gpuyard.training_jobs.target import AzureMlTarget, parse_targets
from tests.helpers.azure_sample_yard import CLUSTER, DATA, SECRET, SUBJECT, SUBNET, TAGS, VMS, VNET, declare, kinds, token

COMPUTE, WORKSPACE = token("machinelearningservices:Compute"), token("machinelearningservices:Workspace")
ASSIGNMENT, CUSTOM = token("authorization:RoleAssignment"), token("authorization:RoleDefinition")
LOGS = "train-workspace-storage"


def roles(recorded: Any) -> dict[str, tuple[str, str, str]]:
    """Return role, last part of the scope, and principal of each role assignment by its name."""
    by_guid = {role.guid: role.name for role in ROLES}
    for request in recorded.resources.values():
        if request.type == CUSTOM:
            by_guid[recorded.inputs(CUSTOM, request.name)["roleDefinitionId"]] = request.name
    found = {}
    for request in recorded.resources.values():
        if request.type == ASSIGNMENT:
            given = recorded.inputs(ASSIGNMENT, request.name)
            assert given["principalType"] == "ServicePrincipal"
            assert "/providers/" in given["scope"]  # one resource, never a resource group
            role = by_guid[given["roleDefinitionId"].rpartition("/")[2]]
            found[request.name] = (role, given["scope"].rpartition("/")[2], given["principalId"])
    return found


@pytest.mark.parametrize("preview", [False, True])
def test_tokens_and_child_names_do_not_change(record: Any, preview: bool) -> None:
    recorded = record(declare, preview=preview)
    assert kinds(recorded, "train") == [
        "Component train-insights",
        "Compute train-h100-cluster",
        "FederatedIdentityCredential train-submitter-subject-794f08de",
        "Identity train-submitter",
        "JobService train",
        "ManagedNetworkSettingsRule train-door-runs",
        "PrivateDnsZoneGroup train-net-workspace",
        "PrivateDnsZoneGroup train-net-workspace-storage-blob",
        "PrivateEndpoint train-net-workspace",
        "PrivateEndpoint train-net-workspace-storage-blob",
        "RoleAssignment train-may-close",
        "RoleAssignment train-may-connect-runs",
        "RoleAssignment train-may-h100-reads-data",
        "RoleAssignment train-may-h100-writes-artifacts",
        "RoleAssignment train-may-h100-writes-runs",
        "RoleAssignment train-may-lab-reads-data",
        "RoleAssignment train-may-lab-writes-runs",
        "RoleAssignment train-submitter-may-submits",
        "RoleAssignment train-submitter-may-writes-runs",
        "RoleDefinition train-deletes-clusters",
        "RoleDefinition train-submits-jobs",
        "StorageAccount train-workspace-storage",
        "UserAssignedIdentity train-submitter-identity",
        "Vault train-workspace-vault",
        "Workflow train-end",
        "Workspace train-logs",
        "Workspace train-workspace",
    ]
    assert recorded.unknown == ({"job_targets", "submitter_role", "publish"} if preview else set())
    assert recorded.warnings == []


def test_the_workspace_is_private_and_its_cluster_has_no_minimum_of_nodes(record: Any) -> None:
    recorded = record(declare)
    workspace = recorded.inputs(WORKSPACE, "train-workspace")
    assert workspace["publicNetworkAccess"] == "Disabled"
    assert workspace["systemDatastoresAuthMode"] == "Identity"
    assert workspace["managedNetwork"] == {"isolationMode": "AllowInternetOutbound"}
    cluster = recorded.inputs(COMPUTE, "train-h100-cluster")
    assert cluster["identity"]["type"] == "UserAssigned"
    assert cluster["properties"] == {
        "computeType": "AmlCompute",
        "disableLocalAuth": True,
        "properties": {
            "enableNodePublicIp": False,
            "osType": "Linux",
            "remoteLoginPortPublicAccess": "Disabled",
            "scaleSettings": {"maxNodeCount": 4, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT15M"},
            "vmPriority": "LowPriority",
            "vmSize": "Standard_ND96isr_H100_v5",
        },
    }


def test_every_identity_has_single_roles_on_single_resources(record: Any) -> None:
    recorded = record(declare)
    node, lab, submitter = "h100-node-identity-principal", "lab-node-identity-principal", "train-submitter-identity-principal"
    account = recorded.inputs(token("storage:BlobContainer"), "runs-container")["accountName"]
    workspace = recorded.inputs(WORKSPACE, "train-workspace")["workspaceName"]
    storage = recorded.inputs(token("storage:StorageAccount"), "train-workspace-storage")["accountName"]
    machines = recorded.inputs(token("compute:VirtualMachineScaleSet"), "lab-machines")["vmScaleSetName"]
    assert roles(recorded) == {
        "lab-may-count-replacements": ("lab-stops-repairs", "lab-replacements", "lab-replacements-principal"),
        "lab-may-stop-replacements": ("lab-stops-repairs", machines, "lab-replacements-principal"),
        "train-may-close": ("train-deletes-clusters", workspace, "train-end-principal"),
        "train-may-connect-runs": ("Azure AI Enterprise Network Connection Approver", account, "train-workspace-principal"),
        "train-may-h100-reads-data": ("Storage Blob Data Reader", "nlp", node),
        "train-may-h100-writes-artifacts": ("Storage Blob Data Contributor", storage, node),
        "train-may-h100-writes-runs": ("Storage Blob Data Contributor", "runs", node),
        "train-may-lab-reads-data": ("Storage Blob Data Reader", "nlp", lab),
        "train-may-lab-writes-runs": ("Storage Blob Data Contributor", "runs", lab),
        "train-submitter-may-submits": ("train-submits-jobs", workspace, submitter),
        "train-submitter-may-writes-runs": ("Storage Blob Data Contributor", "runs", submitter),
    }
    assert recorded.exports["submitter_role"] == "train-submitter-identity-client"
    credential = next(name for name in kinds(recorded) if name.startswith("FederatedIdentityCredential")).partition(" ")[2]
    given = recorded.inputs(token("managedidentity:FederatedIdentityCredential"), credential)
    assert (given["issuer"], given["subject"]) == ("https://token.actions.githubusercontent.com", SUBJECT)
    assert given["audiences"] == ["api://AzureADTokenExchange"]


def test_submitters_can_neither_make_endpoints_nor_read_connections(record: Any) -> None:
    role = record(declare).inputs(CUSTOM, "train-submits-jobs")
    [permission] = role["permissions"]
    allowed = {action.removeprefix("Microsoft.MachineLearningServices/workspaces/") for action in permission["actions"]}
    assert {"jobs/write", "jobs/cancel/action", "computes/read", "environments/versions/write"} < allowed
    assert not [action for action in allowed if "*" in action or "ndpoints" in action or action.startswith(("connections", "computes/w"))]
    assert "RoleDefinition train-submits-jobs" not in kinds(record(lambda: declare(submitters=(), pools={"h100": CLUSTER})))


def test_people_and_groups_get_the_roles_of_a_submitter_themselves(record: Any) -> None:
    group, user = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", "1b2c3d4e-5f60-7182-93a4-b5c6d7e8f901"
    recorded = record(lambda: declare(submitters=(f"group:{group}", f"user:{user}")))
    names = [request.name for request in recorded.resources.values() if request.name.endswith((group[:8], user[:8]))]
    found = {name: recorded.inputs(ASSIGNMENT, name) for name in names}
    assert {name: (given["principalId"], given["principalType"], "condition" in given) for name, given in found.items()} == {
        "train-may-submits-0a1b2c3d": (group, "Group", False),
        "train-may-submits-1b2c3d4e": (user, "User", False),
        "train-may-writes-runs-0a1b2c3d": (group, "Group", True),
        "train-may-writes-runs-1b2c3d4e": (user, "User", True),
    }
    assert not recorded.exports["submitter_role"]
    assert not [name for name in kinds(recorded) if name.startswith("FederatedIdentityCredential")]


def test_submitters_can_parse_the_targets(record: Any) -> None:
    recorded = record(declare, config={"azure-native:location": "East US"})
    targets = parse_targets(recorded.exports["job_targets"], "the export")
    [target] = targets.values()
    assert isinstance(target, AzureMlTarget)
    assert (target.pool, target.compute, target.region, target.spot, target.subscription_id) == ("h100", "h100", "eastus", True, "sub")
    assert target.identity_client_id == "h100-node-identity-client"
    assert target.run_bucket.startswith("abfs://runs@")
    assert target.run_bucket.endswith(".dfs.core.windows.net")
    assert target.buckets["data"] == "abfs://nlp@acmedata.dfs.core.windows.net"
    assert target.fabric is not None
    assert (target.fabric.transport, target.fabric.line_rate_gbps, target.nics_per_node) == ("NET/IB", 3200, 8)
    assert target.available_until == "2999-03-31T00:00:00Z"
    assert target.secrets == {"wandb": SECRET}
    account = target.run_bucket.partition("@")[2].partition(".")[0]
    assert f"--account-name {account} --container-name runs" in recorded.exports["publish"]


def test_an_open_bucket_opens_the_workspace_and_no_cluster_means_no_workspace(record: Any) -> None:
    opened = record(lambda: declare(open_to=("internet",), pools={"h100": CLUSTER}, submitters=()))
    assert opened.inputs(WORKSPACE, "train-workspace")["publicNetworkAccess"] == "Enabled"
    assert not [line for line in kinds(opened) if line.startswith("PrivateEndpoint")]
    alone = record(lambda: declare(pools={"lab": VMS}, submitters=()))
    assert not [line for line in kinds(alone, "train") if "orkspace" in line or line.startswith("Workflow")]
    assert alone.exports["job_targets"] == {}
    assert alone.exports["submitter_role"] is None


def test_an_expired_yard_has_no_clusters_and_no_closing_workflow(record: Any) -> None:
    recorded = record(lambda: declare(tags={**TAGS, "expires": "2020-01-01"}))
    assert COMPUTE not in {each.type for each in recorded.resources.values()}
    assert recorded.exports["job_targets"]["h100"]["compute"] == "h100", "a submit can say that the pool has expired"
    assert recorded.inputs(token("compute:VirtualMachineScaleSet"), "lab-machines")["sku"]["capacity"] == 0
    assert "Workflow train-end" not in kinds(recorded)
    assert sum("has been at zero nodes since" in warning for warning in recorded.warnings) == 2


def test_another_machine_or_capacity_replaces_the_cluster_and_deletes_it_first(record: Any) -> None:
    """Azure ML keeps the old size in an update, and cannot have two clusters of one name."""
    cluster = record(declare).one(COMPUTE, "train-h100-cluster")
    assert list(cluster.replaceOnChanges) == ["properties.properties.vmSize", "properties.properties.vmPriority"]
    assert cluster.deleteBeforeReplace


def test_open_to_of_an_adopted_run_bucket_applies_to_workspace_and_logs(record: Any) -> None:
    def reached(open_to: list[str] | None) -> tuple[str, str]:
        recorded = record(jobs(writes=[{"bucket": DATA, "open_to": open_to}]))
        workspace, logs = recorded.inputs(WORKSPACE, "train-workspace"), recorded.inputs(token("storage:StorageAccount"), LOGS)
        return workspace["publicNetworkAccess"], logs["networkRuleSet"]["defaultAction"]

    assert [reached(sources) for sources in (None, ["203.0.112.0/24"], ["internet"])] == [
        ("Disabled", "Deny"),
        ("Enabled", "Deny"),
        ("Enabled", "Allow"),
    ]


def test_a_premium_registry_has_no_admin_account_and_no_anonymous_pull(record: Any) -> None:
    recorded = record(jobs(registry="premium"))
    made = recorded.inputs(token("containerregistry:Registry"), "train-registry")
    assert (made["sku"], made["adminUserEnabled"], made["anonymousPullEnabled"]) == ({"name": "Premium"}, False, False)
    assert made["publicNetworkAccess"] == "Disabled"  # the run bucket is an existing one without open_to
    pulls = [line for line in kinds(recorded) if line.startswith("RoleAssignment") and "registry" in line]
    assert pulls == ["RoleAssignment train-may-h100-registry"]
    assert "containerRegistry" in recorded.inputs(token("machinelearningservices:Workspace"), "train-workspace")
    assert not [line for line in kinds(record(jobs())) if line.startswith("Registry")]


def test_a_registry_is_open_to_the_addresses_of_the_run_bucket(record: Any) -> None:
    recorded = record(lambda: declare(open_to=("203.0.112.0/24",), registry="premium"))
    made = recorded.inputs(token("containerregistry:Registry"), "train-registry")
    assert made["publicNetworkAccess"] == "Enabled"
    rules = [{"action": "Allow", "iPAddressOrRange": "203.0.112.0/24"}]
    assert made["networkRuleSet"] == {"defaultAction": "Deny", "ipRules": rules}
    assert "ManagedNetworkSettingsRule train-door-workspace-registry" in kinds(recorded)
    open_to_all = record(lambda: declare(open_to=("internet",), registry="premium")).inputs(
        token("containerregistry:Registry"), "train-registry"
    )
    assert (open_to_all["publicNetworkAccess"], "networkRuleSet" in open_to_all) == ("Enabled", False)


def test_no_input_has_a_secret(record: Any) -> None:
    recorded = record(declare)
    text = json.dumps([str(request.object) for request in recorded.resources.values()])
    for word in ("adminPassword", "BEGIN ", "accountKey", "SharedAccess"):
        assert word not in text


def jobs(**more: Any) -> Any:
    def program() -> None:
        network = Network.adopt("hub", vpc_id=VNET, subnet_ids={"1": SUBNET})
        runs = [Bucket.adopt("runs", **written) for written in more.pop("writes", [{"bucket": DATA}])]
        JobService("train", pools=[GpuPool("h100", CLUSTER, network=network)], writes=runs, **more)

    return program


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            jobs(submitters=[{"subject": "repo:a/b:*", "reason": "all branches are protected"}]),
            ["JobService train: 1 problem", "submitters.0: Azure compares subjects exactly and expands no *, got 'repo:a/b:*'"],
        ),
        (
            jobs(isolation="none", registry_id="acr"),
            ["2 problems", "isolation: unknown mode, got 'none'", "registry_id: "],
        ),
        (
            jobs(registry="basic"),
            ["registry: unknown kind, got 'basic', allowed: none or premium; write premium (billed by the day), or none for no registry"],
        ),
        (jobs(secrets={"w": "https://evil.example/secrets/x"}, writes=[]), ["2 problems", "secrets.w", "writes: not one bucket, got none"]),
        (
            jobs(resource_group="/subscriptions/x"),
            ["resource_group: not a name, got '/subscriptions/x', allowed: the name of a resource group"],
        ),
    ],
)
def test_all_wrong_inputs_are_reported(record: Any, program: Any, expected: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(program)
    assert all(text in str(caught.value) for text in expected), str(caught.value)
