"""Cloud name -> module of its components, loaded when used, and its provider: the one place where a cloud is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType

_CLOUDS = {"aws": ".aws", "azure": ".azure", "gcp": ".gcp", "local": ".local"}


PACKAGES: Mapping[str, str] = MappingProxyType({"aws": "aws", "azure": "azure-native", "gcp": "gcp"})
"""Pulumi's package of each cloud."""
REGION_KEYS: Mapping[str, str] = MappingProxyType({"aws": "aws:region", "azure": "azure-native:location", "gcp": "gcp:region"})
"""The provider's own setting that says where things are made: the one place where a stack file writes it."""


def clouds() -> list[str]:
    """The clouds there are."""
    return sorted(_CLOUDS)


def cloud(name: str) -> ModuleType:
    """The module with a cloud's Network, Bucket, GpuPool and JobService."""
    if name not in _CLOUDS:
        raise LookupError(f"cloud: got {name!r}, allowed: {', '.join(clouds())}")
    return import_module(_CLOUDS[name], __package__)
