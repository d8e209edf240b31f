"""Names of storage accounts, vaults, containers and clusters. Pure functions: the same inputs always give the same name."""

from __future__ import annotations

import hashlib
import re

__all__ = ["account_name", "cluster_name", "container_name", "scale_set_name", "vault_name"]

_LIMIT = 24  # of storage accounts and vaults: learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
_DIGEST = 12


def account_name(group_id: str, name: str) -> str:
    """Return the name of a storage account: the letters and digits of `name`, then a digest of the resource group and the name.

    Storage account names are unique world-wide. Pulumi gives every new resource group a random suffix, so a new account after a destroy
    gets a new name.

    >>> account_name("/subscriptions/s/resourceGroups/runs-group1a2b3c4d", "runs")
    'runse42de9890ba7'
    """
    legal = re.sub(r"[^a-z0-9]", "", name.lower())
    return f"{legal[: _LIMIT - _DIGEST]}{_digest(group_id, name)}"


def vault_name(group_id: str, name: str) -> str:
    """Return the name of a key vault: a letter first, no hyphens. A soft-deleted vault keeps its name for 90 days."""
    return f"v{account_name(group_id, name)[-(_LIMIT - 1) :]}"


def container_name(name: str) -> str:
    """Return the name of a container in its account: 3 to 63 letters, digits and single hyphens.

    >>> container_name("runs"), container_name("a")
    ('runs', 'a-bucket')
    """
    legal = re.sub(r"-+", "-", name).strip("-")
    return legal if len(legal) >= 3 else f"{legal}-bucket"


def cluster_name(pool: str) -> str:
    """Return the pool's name if Azure ML accepts it for a cluster, else a shortened name with a hash.

    Azure ML accepts 3 to 24 letters, digits and hyphens that do not end in a hyphen and a number.

    >>> cluster_name("h100-spot"), cluster_name("h100-2")
    ('h100-spot', 'h100-2-c126d4085')
    """
    if re.fullmatch(r"[a-z](?![a-z0-9-]*-\d+$)[a-z0-9-]{1,22}[a-z0-9]", pool):
        return pool
    return f"{pool[:13].rstrip('-')}-c{hashlib.sha256(pool.encode()).hexdigest()[:8]}"


def scale_set_name(stack: str, pool: str) -> str:
    """Return the name of a pool's scale set. The name never changes, so that `pulumi up` can read the scale set's number of machines.

    >>> scale_set_name("gpuyard/prod-azure", "h200")
    'h200-machines-a09af5'
    """
    return f"{pool}-machines-{hashlib.sha256(stack.encode()).hexdigest()[:6]}"


def _digest(group_id: str, name: str) -> str:
    return hashlib.sha256(f"{group_id.lower()}\n{name}".encode()).hexdigest()[:_DIGEST]
