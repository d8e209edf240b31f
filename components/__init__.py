"""Declares GPU training yards as Pulumi components: one module per cloud, mirror-named inside.

    from components.local import Bucket, GpuPool, JobService, Network

Importing this package loads nothing heavy: names are resolved when first used, clouds when named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .registry import cloud
    from .spec import BucketSpec, GpuPoolSpec, LimitsSpec, NetworkSpec, YardSpec

_HOME = {
    "BucketSpec": "spec",
    "GpuPoolSpec": "spec",
    "LimitsSpec": "spec",
    "NetworkSpec": "spec",
    "YardSpec": "spec",
    "cloud": "registry",
}

__all__ = ["BucketSpec", "GpuPoolSpec", "LimitsSpec", "NetworkSpec", "YardSpec", "cloud"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
