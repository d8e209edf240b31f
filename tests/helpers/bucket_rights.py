"""Evaluates who may change which object of a run bucket, from the policies that a yard's components generate on each cloud.

An evaluator is a function of a recording that returns {principal: function of (action, path) -> bool}. An unknown role, condition or
action raises an error, so that nothing passes unread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from gpuyard.components.azure.roles import BLOB_READER, BLOB_WRITER, ROLES
from tests.helpers.iam_evaluator import allows

Right = Callable[[str, str], bool]

# Actions that change an object, its metadata or its protection: service-authorization reference "Amazon S3", access level not Read or List.
S3_CHANGES = (
    "s3:AbortMultipartUpload", "s3:BypassGovernanceRetention", "s3:DeleteObject", "s3:DeleteObjectTagging", "s3:DeleteObjectVersion",
    "s3:DeleteObjectVersionTagging", "s3:ObjectOwnerOverrideToBucketOwner", "s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectLegalHold",
    "s3:PutObjectRetention", "s3:PutObjectTagging", "s3:PutObjectVersionAcl", "s3:PutObjectVersionTagging", "s3:ReplicateDelete",
    "s3:ReplicateObject", "s3:RestoreObject", "s3:UpdateObjectEncryption",
)  # fmt: skip
# cloud.google.com/storage/docs/access-control/iam-roles (2026-11): permissions on objects that change them
GCS_CHANGES = tuple(f"storage.objects.{change}" for change in ("create", "delete", "move", "restore", "update"))
_GCS_READS = ("storage.objects.get", "storage.objects.list")
_GCS_ROLES = {"roles/storage.objectViewer": _GCS_READS, "roles/storage.objectUser": (*_GCS_READS, *GCS_CHANGES)}
_GCP_PROJECT_ROLES = {"roles/artifactregistry.reader", "roles/logging.logWriter", "roles/monitoring.metricWriter"}  # none on storage
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
# learn.microsoft.com/azure/storage/blobs/storage-auth-abac-attributes (2024-04): the data actions that change a blob
BLOB_CHANGES = tuple(
    f"{BLOBS}/{action}"
    for action in (
        "add/action", "delete", "deleteBlobVersion/action", "immutableStorage/runAsSuperUser/action", "manageOwnership/action",
        "modifyPermissions/action", "move/action", "permanentDelete/action", "runAsSuperUser/action", "tags/write", "write",
    )
)  # fmt: skip
# The data actions of a role: learn.microsoft.com/azure/role-based-access-control/built-in-roles/storage. Of the others none is on blobs.
_BLOB_ROLES = {
    BLOB_WRITER.guid: {f"{BLOBS}/{action}" for action in ("add/action", "delete", "move/action", "read", "write")},
    BLOB_READER.guid: {f"{BLOBS}/read"},
}


def aws_rights(recorded: Any, bucket: str) -> dict[str, Right]:
    """Return the rights of each IAM policy on a bucket, by the policy's name in the program."""
    for request in recorded.resources.values():
        given = recorded.inputs(request.type, request.name) if request.type == "aws:s3/bucketPolicy:BucketPolicy" else {}
        if given.get("bucket") == bucket:
            assert {statement["Effect"] for statement in json.loads(given["policy"])["Statement"]} == {"Deny"}
    policies = {
        request.name: json.loads(recorded.inputs(request.type, request.name)["policy"])
        for request in recorded.resources.values()
        if request.type == "aws:iam/rolePolicy:RolePolicy"
    }

    def right(policy: Mapping[str, Any]) -> Right:
        return lambda action, path: allows(policy, action, f"arn:aws:s3:::{bucket}/{path}")

    return {name: right(policy) for name, policy in policies.items()}


def gcp_rights(recorded: Any, bucket: str) -> dict[str, Right]:
    """Return the rights of each IAM member on a bucket, by the member."""
    grants: dict[str, list[tuple[str, str]]] = {}
    for request in recorded.resources.values():
        given = recorded.inputs(request.type, request.name) if "IAMMember" in request.type else {}
        if request.type == "gcp:storage/bucketIAMMember:BucketIAMMember" and given["bucket"] == bucket:
            grants.setdefault(given["member"], []).append((given["role"], given.get("condition", {}).get("expression", "true")))
        elif request.type == "gcp:projects/iAMMember:IAMMember" and not re.search(r"(^|/)roles/gpuyard_|-id$", given["role"]):
            assert given["role"] in _GCP_PROJECT_ROLES, given["role"]
    for request in recorded.resources.values():
        if request.type == "gcp:projects/iAMCustomRole:IAMCustomRole":
            permissions = recorded.inputs(request.type, request.name)["permissions"]
            assert not [permission for permission in permissions if permission.startswith(("storage.", "iam."))]

    def right(found: list[tuple[str, str]]) -> Right:
        return lambda action, path: any(action in _GCS_ROLES[role] and _cel_holds(cel, bucket, path) for role, cel in found)

    return {member: right(found) for member, found in grants.items()}


def _cel_holds(expression: str, bucket: str, path: str) -> bool:
    """Evaluate a condition that is `true` or alternatives of `resource.name.startsWith("...")`."""
    if expression == "true":
        return True
    terms = [re.fullmatch(r'resource\.name\.startsWith\("([^"\\]+)"\)', term) for term in expression.split(" || ")]
    assert all(terms), expression
    return any(f"projects/_/buckets/{bucket}/objects/{path}".startswith(term[1]) for term in terms if term is not None)


def azure_rights(recorded: Any, container: str) -> dict[str, Right]:
    """Return the rights of each principal on the blobs of a container, by the principal. `container`: the end of its resource id."""
    custom = set()
    for request in recorded.resources.values():
        if request.type == "azure-native:authorization:RoleDefinition":
            given = recorded.inputs(request.type, request.name)
            assert not [
                action for each in given["permissions"] for action in each["actions"] if action.startswith(("*", "Microsoft.Storage"))
            ]
            assert not any(each.get("dataActions") for each in given["permissions"])
            custom.add(given["roleDefinitionId"])
    grants: dict[str, list[tuple[str, str]]] = {}
    for request in recorded.resources.values():
        if request.type == "azure-native:authorization:RoleAssignment":
            given = recorded.inputs(request.type, request.name)
            guid = given["roleDefinitionId"].rpartition("/")[2]
            assert guid in {role.guid for role in ROLES} | custom
            if given["scope"].endswith(container) and guid in _BLOB_ROLES:
                assert ("condition" in given) == (given.get("conditionVersion") == "2.0")
                grants.setdefault(given["principalId"], []).append((guid, given.get("condition", "")))

    def right(found: list[tuple[str, str]]) -> Right:
        return lambda action, path: any(action in _BLOB_ROLES[guid] and _blob_condition_holds(text, action, path) for guid, text in found)

    return {principal: right(found) for principal, found in grants.items()}


def _blob_condition_holds(condition: str, action: str, path: str) -> bool:
    """Evaluate a condition of this form: the action is not one of these, or the path begins with one of the folders. Empty: true."""
    if not condition:
        return True
    named = re.findall(r"!\(ActionMatches\{'([^']+)'\}\)", condition)
    folders = re.findall(r"@Resource\[([^]]+)\] StringStartsWith '([^']+)'", condition)
    assert {attribute for attribute, _ in folders} == {f"{BLOBS}:path"}
    plain = f"(({' AND '.join(f'!(ActionMatches{{{name!r}}})' for name in named)}) OR ("
    plain += " OR ".join(f"@Resource[{attribute}] StringStartsWith {folder!r}" for attribute, folder in folders) + "))"
    assert condition == plain  # the condition has no other parts
    return action not in named or any(path.startswith(folder) for _, folder in folders)
