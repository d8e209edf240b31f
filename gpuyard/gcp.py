"""Components for Google Cloud: `from gpuyard.gcp import Bucket, GpuPool, JobService, Network`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .components.lazy import lazy_names

if TYPE_CHECKING:
    from .components.gcp import Bucket, Budget, EncryptionKey, GpuPool, Identity, JobService, Network, Notify

__all__ = ["Bucket", "Budget", "EncryptionKey", "GpuPool", "Identity", "JobService", "Network", "Notify"]

__getattr__, __dir__ = lazy_names(__package__, dict.fromkeys(__all__, ".components.gcp"))
