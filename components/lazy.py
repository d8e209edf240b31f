"""Load a package's public names at their first use, so that importing the package loads no SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

__all__ = ["CLOUD_NAMES", "lazy_names"]

CLOUD_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "Bucket": ".bucket",
        "Budget": ".budget",
        "EncryptionKey": ".key",
        "GpuPool": ".gpu_pool",
        "Identity": ".identity",
        "JobService": ".job_service",
        "Network": ".network",
        "yard_problems": ".validation",
    }
)
"""The public names of a cloud's package, and the modules that define them. Every cloud has the same files."""


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's `__getattr__` and `__dir__`.

    `package`: the package's `__name__`. `homes`: the module that defines each public name, relative to the package.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name], package), name)

    return load, lambda: sorted(homes)
