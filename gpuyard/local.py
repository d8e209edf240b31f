"""Components for this machine: `from gpuyard.local import Bucket, GpuPool, JobService, Network`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .components.lazy import lazy_names

if TYPE_CHECKING:
    from .components.local import Bucket, GpuPool, JobService, Network

__all__ = ["Bucket", "GpuPool", "JobService", "Network"]

__getattr__, __dir__ = lazy_names(__package__, dict.fromkeys(__all__, ".components.local"))
