"""The cloud `local`: a yard on this machine, for trying everything without an account.

from components.local import Bucket, GpuPool, JobService, Network
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bucket import Bucket
    from .gpu_pool import GpuPool
    from .job_service import JobService
    from .network import Network

_HOME = {"Bucket": "bucket", "GpuPool": "gpu_pool", "JobService": "job_service", "Network": "network"}

__all__ = ["Bucket", "GpuPool", "JobService", "Network", "yard_problems"]


def yard_problems(**_yard: Any) -> list[str]:
    """What this machine would refuse of a stack's yard besides what its spec tells: nothing."""
    return []


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
