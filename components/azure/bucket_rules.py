"""What a bucket's account, blob service and lifecycle say: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...problems import Problem, show
from ..spec.fields import ANYWHERE

_RUN_DAYS = 7
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
    """What a container's id says."""

    account: str
    container: str
    account_id: str


def account_settings(open_to: Sequence[str], key: Mapping[str, Any] | None) -> dict[str, Any]:
    """A storage account's own settings: no keys, no public containers, TLS 1.2; three copies in three zones would be ZRS, and dearer.

    Without `open_to` it has no public endpoint at all. With addresses these alone come in, with `internet` everybody who has rights:
    identities are asked for either way. Services that Microsoft calls trusted (backup, its own logs) may come.
    """
    anywhere = ANYWHERE in open_to
    rules = [{"action": "Allow", "i_p_address_or_range": address} for address in open_to if address != ANYWHERE]
    encryption: dict[str, Any] = {
        "key_source": "Microsoft.Storage",
        "require_infrastructure_encryption": True,
        "services": {"blob": {"enabled": True, "key_type": "Account"}, "file": {"enabled": True, "key_type": "Account"}},
    }
    if key:
        encryption["key_source"] = "Microsoft.Keyvault"
        # no version: the account follows the key's rotation
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


def blob_settings(versions: bool) -> dict[str, Any]:
    """Both soft deletes, and versions where the namespace is flat: Azure has none in a hierarchical one."""
    return {
        "is_versioning_enabled": versions,
        "delete_retention_policy": {"enabled": True, "days": _RUN_DAYS},
        "container_delete_retention_policy": {"enabled": True, "days": _CONTAINER_DAYS},
    }


def lifecycle(container: str, versions: bool) -> list[dict[str, Any]]:
    """The rules of a bucket with data: current blobs stay for ever, so no rule can remove the last good checkpoint.

    The trainer drops an old checkpoint only after a newer one is committed, and each attempt writes names of its own. So what is not
    current is superseded: it goes after 30 days, and after 7 below gpuyard/runs/, where a checkpoint is large. Blocks that no upload
    finished go by themselves after a week. Without versions there is nothing to clear but snapshots, which nothing here makes.
    """
    kind = "version" if versions else "snapshot"
    return [_old(kind, "superseded-in-runs", _RUN_DAYS, [f"{container}/gpuyard/runs/"]), _old(kind, "superseded", _DATA_DAYS, [])]


def _old(kind: str, name: str, days: int, below: list[str]) -> dict[str, Any]:
    where = {"prefix_match": below} if below else {}
    return {
        "name": name,
        "enabled": True,
        "type": "Lifecycle",
        "definition": {
            "filters": {"blob_types": ["blockBlob"], **where},
            "actions": {kind: {"delete": {"days_after_creation_greater_than": days}}},
        },
    }


def split_container_id(container_id: str) -> ContainerParts:
    """The account and the container of a container's id."""
    match = _CONTAINER.fullmatch(container_id)
    if match is None:
        raise ValueError(f"{container_id!r} is not {_CONTAINER_FORM}")
    return ContainerParts(match["account"], match["container"], match["account_id"])


def existing_problems(bucket: Any) -> list[Problem]:
    """Why this cannot be an existing container."""
    if isinstance(bucket, str) and _CONTAINER.fullmatch(bucket):
        return []
    fix = "`az storage container-rm show --query id` prints it"
    return [Problem("existing", "not the id of a container", show(bucket), _CONTAINER_FORM, fix)]


def namespace_problems(namespace: Any) -> list[Problem]:
    """Why this is no kind of namespace."""
    if namespace in ("flat", "hierarchical"):
        return []
    allowed = "flat (with object versions) or hierarchical (without object versions)"
    return [Problem("namespace", "unknown kind of namespace", show(namespace), allowed)]
