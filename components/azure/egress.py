"""Service tags and service endpoints that nodes may reach outside the network, for each value of `egress`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["EGRESS_SERVICE_TAGS", "SERVICE_ENDPOINTS"]

SERVICE_ENDPOINTS = ("Microsoft.ContainerRegistry", "Microsoft.KeyVault", "Microsoft.Storage")
"""Service endpoints of the nodes' subnet with `egress: endpoints`. Storage is one, because registries keep image layers in it."""
EGRESS_SERVICE_TAGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"nat": ("Internet",), "endpoints": ("AzureContainerRegistry", "AzureKeyVault", "Storage"), "none": ()}
)
"""Service tags that nodes may reach on port 443, by value of `egress`."""
