"""The clouds by name: the module of their components, loaded at first use, and their Pulumi provider."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType

__all__ = ["PACKAGES", "REGION_KEYS", "REQUIRED_KEYS", "cloud", "clouds"]

_CLOUDS = {"aws": ".aws", "azure": ".azure", "gcp": ".gcp", "local": ".local"}


PACKAGES: Mapping[str, str] = MappingProxyType({"aws": "aws", "azure": "azure-native", "gcp": "gcp"})
"""Name of each cloud's Pulumi package."""
REGION_KEYS: Mapping[str, str] = MappingProxyType({"aws": "aws:region", "azure": "azure-native:location", "gcp": "gcp:region"})
"""Configuration key of each provider's region."""

REQUIRED_KEYS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "aws": {"aws:region": "us-east-1"},
        "azure": {"azure-native:location": "eastus"},
        "gcp": {"gcp:project": "acme-ml-dev", "gcp:region": "us-central1"},
    }
)
"""Configuration keys that locate a cloud's resources, each with an example. A stack of the stock program must set them."""


def clouds() -> list[str]:
    """Return the names of all clouds."""
    return sorted(_CLOUDS)


def cloud(name: str) -> ModuleType:
    """Return the module with a cloud's components. Raises LookupError for an unknown name."""
    if name not in _CLOUDS:
        raise LookupError(f"cloud: got {name!r}, allowed: {', '.join(clouds())}")
    return import_module(_CLOUDS[name], __package__)
