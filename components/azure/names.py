"""Names that are taken world-wide: storage accounts, vaults, workspaces. Pure: the same resource group gives the same names."""

from __future__ import annotations

import hashlib
import re

_LIMIT = 24  # of storage accounts and vaults: learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
_DIGEST = 12


def account_name(group_id: str, name: str) -> str:
    """A storage account's name: letters and digits, begun with what people called it, ended by a digest of where it is.

    A group that Pulumi makes has digits of its own in its name, so what is made anew after a destroy meets no old name.

    >>> account_name("/subscriptions/s/resourceGroups/runs-group1a2b3c4d", "runs")
    'runse42de9890ba7'
    """
    legal = re.sub(r"[^a-z0-9]", "", name.lower())
    return f"{legal[: _LIMIT - _DIGEST]}{_digest(group_id, name)}"


def vault_name(group_id: str, name: str) -> str:
    """A key vault's name: first a letter, no two hyphens together. Soft-deleted vaults keep theirs for 90 days."""
    return f"v{account_name(group_id, name)[-(_LIMIT - 1) :]}"


def container_name(name: str) -> str:
    """A container's name in its account: 3 to 63 letters, digits and single hyphens.

    >>> container_name("runs"), container_name("a")
    ('runs', 'a-bucket')
    """
    legal = re.sub(r"-+", "-", name).strip("-")
    return legal if len(legal) >= 3 else f"{legal}-bucket"


def cluster_name(pool: str) -> str:
    """A cluster's name in its workspace: 3 to 24 letters, digits and hyphens, no number after its last hyphen.

    >>> cluster_name("h100-spot"), cluster_name("h100-2")
    ('h100-spot', 'h100-2-c126d4085')
    """
    if re.fullmatch(r"[a-z](?![a-z0-9-]*-\d+$)[a-z0-9-]{1,22}[a-z0-9]", pool):
        return pool
    return f"{pool[:13].rstrip('-')}-c{hashlib.sha256(pool.encode()).hexdigest()[:8]}"


def _digest(group_id: str, name: str) -> str:
    return hashlib.sha256(f"{group_id.lower()}\n{name}".encode()).hexdigest()[:_DIGEST]
