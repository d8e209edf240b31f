"""Cloud name -> module of its components, loaded when used: the one place where a cloud is chosen."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

_CLOUDS = {"aws": ".aws", "local": ".local"}


def clouds() -> list[str]:
    """The clouds there are."""
    return sorted(_CLOUDS)


def cloud(name: str) -> ModuleType:
    """The module with a cloud's Network, Bucket, GpuPool and JobService."""
    if name not in _CLOUDS:
        raise LookupError(f"cloud: got {name!r}, allowed: {', '.join(clouds())}")
    return import_module(_CLOUDS[name], __package__)
