"""Destinations outside the network that nodes may reach, for each value of `egress`: service tags and service endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["EGRESS_SERVICE_TAGS", "SERVICE_ENDPOINTS"]

SERVICE_ENDPOINTS = ("Microsoft.ContainerRegistry", "Microsoft.KeyVault", "Microsoft.Storage")
"""Service endpoints of the nodes' subnet with `egress: endpoints`. Registries keep image layers in storage accounts of their own."""
EGRESS_SERVICE_TAGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"nat": ("Internet",), "endpoints": ("AzureContainerRegistry", "AzureKeyVault", "Storage"), "none": ()}
)
"""Service tags that nodes may reach on port 443, by value of `egress`."""
