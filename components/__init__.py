"""Declare GPU training yards as Pulumi components: one package per cloud, with mirror-named files inside.

    from gpuyard.aws import Bucket, GpuPool, JobService, Network

Importing this package loads no SDK. A module loads when you first use a name from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .registry import cloud
    from .spec import BucketSpec, GpuPoolSpec, LimitsSpec, NetworkSpec, YardSpec

if __name__ == "components":  # a module with two import paths would define each class twice
    raise ImportError("import gpuyard.components instead of components: two import paths would make two copies of each class")

__all__ = ["BucketSpec", "GpuPoolSpec", "LimitsSpec", "NetworkSpec", "YardSpec", "cloud"]

_SPECS = ("BucketSpec", "GpuPoolSpec", "LimitsSpec", "NetworkSpec", "YardSpec")
__getattr__, __dir__ = lazy_names(__name__, {**dict.fromkeys(_SPECS, ".spec"), "cloud": ".registry"})
