"""Settings of a bucket's storage account and blob service, its lifecycle rules, and ids of containers. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...plain_data import PlainDict
from ...problems import Problem, show
from ..spec.fields import INTERNET

__all__ = [
    "ContainerParts",
    "account_settings",
    "blob_settings",
    "container_id_problems",
    "lifecycle",
    "split_container_id",
]

_RUN_DAYS = 1
_SOFT_DELETE_DAYS = {True: 1, False: 2}  # with versions, which keep what is overwritten or deleted, and without
_DATA_DAYS = 30
_CONTAINER_DAYS = 30
_CONTAINER = re.compile(
    r"(?P<account_id>/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Storage/storageAccounts/(?P<account>[a-z0-9]{3,24}))"
    r"/blobServices/default/containers/(?P<container>[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9])",
    re.IGNORECASE,
)
_CONTAINER_FORM = (
    "the resource id of a container, /subscriptions/.../resourceGroups/.../providers/Microsoft.Storage/storageAccounts/ACCOUNT/"
    "blobServices/default/containers/CONTAINER"
)


class ContainerParts(NamedTuple):
    """Parts of a container's resource id."""

    account: str
    container: str
    account_id: str


def account_settings(open_to: Sequence[str], key: Mapping[str, object] | None) -> PlainDict:
    """Return the arguments of a StorageAccount: no account keys, no public containers, TLS 1.2, locally redundant storage (LRS).

    An empty `open_to` closes the public endpoint. Addresses in `open_to` open it for these addresses, `internet` for every address. Every
    access needs an identity with a role. Azure's trusted services may connect. LRS is cheaper than copies in three zones (ZRS).

    `key`: vault_uri, key_name and user_id of a customer-managed key; None: Microsoft's keys.
    """
    anywhere = INTERNET in open_to
    rules = [{"action": "Allow", "i_p_address_or_range": address} for address in open_to if address != INTERNET]
    encryption: dict[str, object] = {
        "key_source": "Microsoft.Storage",
        "require_infrastructure_encryption": True,
        "services": {"blob": {"enabled": True, "key_type": "Account"}, "file": {"enabled": True, "key_type": "Account"}},
    }
    if key:
        encryption["key_source"] = "Microsoft.Keyvault"
        # without a version, the account uses the newest version after each rotation
        encryption["key_vault_properties"] = {"key_vault_uri": key["vault_uri"], "key_name": key["key_name"]}
        encryption["encryption_identity"] = {"encryption_user_assigned_identity": key["user_id"]}
    return {
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS"},
        "access_tier": "Hot",
        "enable_https_traffic_only": True,
        "minimum_tls_version": "TLS1_2",
        "allow_blob_public_access": False,
        "allow_shared_key_access": False,
        "allow_cross_tenant_replication": False,
        "default_to_o_auth_authentication": True,
        "public_network_access": "Enabled" if open_to else "Disabled",
        "network_rule_set": {
            "default_action": "Allow" if anywhere else "Deny",
            "bypass": "AzureServices",
            **({"ip_rules": rules} if rules and not anywhere else {}),
        },
        "encryption": encryption,
    }


def blob_settings(versions: bool) -> PlainDict:
    """Return the arguments of BlobServiceProperties: soft delete of blobs and containers, and versioning if `versions`."""
    return {
        "is_versioning_enabled": versions,
        "delete_retention_policy": {"enabled": True, "days": _SOFT_DELETE_DAYS[versions]},
        "container_delete_retention_policy": {"enabled": True, "days": _CONTAINER_DAYS},
    }


def lifecycle(container: str, versions: bool) -> list[dict[str, object]]:
    """Return the lifecycle rules of a data bucket. No rule deletes a current blob, so none can delete the last good checkpoint.

    The trainer deletes an old checkpoint only after a newer one is committed, and each attempt uses blob names of its own. Older versions
    are deleted after 1 day below gpuyard/runs/, where checkpoints are large, and after 30 days elsewhere. Azure therefore bills a deleted
    checkpoint for two more days: a day as a version, a day as a soft-deleted blob. Azure itself deletes uncommitted blocks after a week.
    Without `versions` the rules delete only old snapshots.
    """
    kind = "version" if versions else "snapshot"
    return [
        _delete_old(kind, "superseded-in-runs", _RUN_DAYS, [f"{container}/gpuyard/runs/"]),
        _delete_old(kind, "superseded", _DATA_DAYS, []),
    ]


def _delete_old(kind: str, name: str, days: int, prefixes: list[str]) -> dict[str, object]:
    matching = {"prefix_match": prefixes} if prefixes else {}
    return {
        "name": name,
        "enabled": True,
        "type": "Lifecycle",
        "definition": {
            "filters": {"blob_types": ["blockBlob"], **matching},
            "actions": {kind: {"delete": {"days_after_creation_greater_than": days}}},
        },
    }


def split_container_id(container_id: str) -> ContainerParts:
    """Split a container's resource id. Raises ValueError for anything else."""
    match = _CONTAINER.fullmatch(container_id)
    if match is None:
        raise ValueError(f"{container_id!r} is not {_CONTAINER_FORM}")
    return ContainerParts(match["account"], match["container"], match["account_id"])


def container_id_problems(bucket: object) -> list[Problem]:
    """Return the problems of the resource id of an existing container."""
    if isinstance(bucket, str) and _CONTAINER.fullmatch(bucket):
        return []
    fix = "`az storage container-rm show --storage-account ACCOUNT --name CONTAINER --query id` prints it"
    return [Problem("existing", "not the id of a container", show(bucket), _CONTAINER_FORM, fix)]
