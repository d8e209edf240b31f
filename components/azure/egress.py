"""What nodes may reach outside the network, for each value of `egress`: service tags and service endpoints. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["EGRESS_SERVICE_TAGS", "SERVICE_ENDPOINTS"]

SERVICE_ENDPOINTS = ("Microsoft.ContainerRegistry", "Microsoft.KeyVault", "Microsoft.Storage")
"""Service endpoints of the nodes' subnet with `egress: endpoints`. Registries keep image layers in storage accounts of their own."""
EGRESS_SERVICE_TAGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"nat": ("Internet",), "endpoints": ("AzureContainerRegistry", "AzureKeyVault", "Storage"), "none": ()}
)
"""Service tags by value of `egress`: nodes may open port 443 to them."""
