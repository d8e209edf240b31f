"""The roles that a yard assigns, built-in ones and its own, with the reason for each. Conditions and names of role assignments."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import pulumi

__all__ = [
    "ARTIFACTS_WRITER",
    "BLOB_READER",
    "BLOB_WRITER",
    "CONNECTION_APPROVER",
    "CRYPTO_USER",
    "CUSTOM_ROLES",
    "ML_CLOSER",
    "ML_SUBMITTER",
    "REGISTRY_PULL",
    "REPAIRS_STOPPER",
    "ROLES",
    "CustomRole",
    "Grant",
    "Role",
    "assignment_name",
    "definition_id",
    "folder_condition",
    "role_guid",
]

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_CHANGES = ("add/action", "delete", "move/action", "write")
"""The data actions of Storage Blob Data Contributor except read."""


class Role(NamedTuple):
    """A role to assign: a custom one, or one of learn.microsoft.com/azure/role-based-access-control/built-in-roles."""

    name: str
    guid: pulumi.Input[str]
    why: str


class CustomRole(NamedTuple):
    """A role that the yard defines, because every built-in role with these actions allows more."""

    name: str
    actions: tuple[str, ...]
    why: str


BLOB_WRITER = Role(
    "Storage Blob Data Contributor",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "on one container, only below their folders: jobs write checkpoints and results, submitters write code and run records",
)
ARTIFACTS_WRITER = Role(
    BLOB_WRITER.name,
    BLOB_WRITER.guid,
    "on the storage account of one workspace: jobs write MLflow artifacts and registered models. The account has those of all pools' jobs",
)
BLOB_READER = Role("Storage Blob Data Reader", "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", "on one container: jobs read data")
CRYPTO_USER = Role(
    "Key Vault Crypto Service Encryption User",
    "e147488a-f6f5-4113-8e2d-b22465e65bf6",
    "on the vault with only the yard's key: a storage account wraps its own key with the yard's key",
)
_ML = "Microsoft.MachineLearningServices/workspaces"
ML_SUBMITTER = CustomRole(
    "submit jobs",
    # Microsoft's list for submitting jobs, with the reads that a command job needs in place of all reads: how-to-assign-roles of 2024-09-03
    # (table "Common scenarios"); names from role-based-access-control/permissions/ai-machine-learning
    (
        f"{_ML}/read",
        f"{_ML}/computes/read",
        f"{_ML}/datastores/read",
        *(f"{_ML}/environments/{action}" for action in ("read", "write", "build/action", "readSecrets/action")),
        *(f"{_ML}/environments/versions/{action}" for action in ("read", "write")),
        *(f"{_ML}/experiments/{action}" for action in ("read", "runs/read")),
        *(f"{_ML}/jobs/{action}" for action in ("read", "write", "cancel/action", "operationresults/read")),
        *(f"{_ML}/metadata/artifacts/{action}" for action in ("read", "write")),
    ),
    "on one workspace: submitters start, watch and stop jobs; they cannot change clusters, endpoints, connections or the workspace. They "
    "can also start jobs on serverless compute, because no role excludes it: only quotas limit that",
)
ML_CLOSER = CustomRole(
    "delete clusters",
    (f"{_ML}/computes/read", f"{_ML}/computes/delete"),
    "on one workspace: the closing workflow deletes clusters without running jobs at expiry",
)
CONNECTION_APPROVER = Role(
    "Azure AI Enterprise Network Connection Approver",
    "b556d68e-0be0-4f35-a333-ad7ee1ce17ea",
    "on one storage account or registry: the workspace connects its managed network to it",
)
REGISTRY_PULL = Role("AcrPull", "7f951dda-4ed3-4680-a7ca-43fe172d538d", "on one registry: nodes pull the images of jobs")
REPAIRS_STOPPER = CustomRole(
    "stop repairs",
    ("Microsoft.Compute/virtualMachineScaleSets/setOrchestrationServiceState/action", "Microsoft.Logic/workflows/runs/read"),
    "on one scale set and on the pool's workflow: the workflow counts the machines that reported broken hardware, and suspends the "
    "replacement of machines",
)
CUSTOM_ROLES = (ML_SUBMITTER, ML_CLOSER, REPAIRS_STOPPER)
ROLES = (BLOB_WRITER, ARTIFACTS_WRITER, BLOB_READER, CRYPTO_USER, CONNECTION_APPROVER, REGISTRY_PULL)


class Grant(NamedTuple):
    """A role to assign on one resource."""

    suffix: str
    """Last part of the assignment's name in the program."""
    role: Role
    scope: pulumi.Input[str]
    """Resource id of the resource, never of a resource group or a subscription."""
    below: tuple[str, ...] = ()
    """Folders of a container: the assignment allows writing and deleting only below them. Empty: no condition."""


def folder_condition(folders: Sequence[str]) -> str:
    """Return a condition that allows writing and deleting blobs only below these folders. It does not limit reading.

    Roles on a container cannot name folders, so the assignment needs a condition:
    learn.microsoft.com/azure/storage/blobs/storage-auth-abac-examples

    >>> folder_condition(["gpuyard/runs/"]).rpartition(" OR ")[2]
    "(@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'gpuyard/runs/'))"
    """
    others = " AND ".join(f"!(ActionMatches{{'{_BLOBS}/{action}'}})" for action in _CHANGES)
    there = " OR ".join(f"@Resource[{_BLOBS}:path] StringStartsWith '{folder}'" for folder in folders)
    return f"(({others}) OR ({there}))"


def definition_id(scope: str, guid: str) -> str:
    """Return the id of a role's definition in the subscription of `scope`, a resource id. `guid`: the role's.

    >>> definition_id("/subscriptions/s/resourceGroups/g", "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1")
    '/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
    """
    return f"/subscriptions/{scope.split('/')[2]}/providers/Microsoft.Authorization/roleDefinitions/{guid}"


def assignment_name(scope: str, guid: str, principal_id: str) -> str:
    """Return the name of an assignment: a GUID made from scope, role and principal. Azure refuses a second assignment with the same three.

    >>> assignment_name("/subscriptions/s", "a1", "p") == assignment_name("/SUBSCRIPTIONS/S", "A1", "P")
    True
    """
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{scope}|{guid}|{principal_id}".lower()))


def role_guid(group_id: str, name: str) -> str:
    """Return the GUID of a custom role. It is unique in the tenant, as Azure requires, because the group's id is part of it."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{group_id}|{name}".lower()))
