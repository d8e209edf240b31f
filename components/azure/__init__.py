"""Azure: Network, EncryptionKey, Bucket, Identity, GpuPool, JobService and Budget. Names load on use: importing this loads no SDK."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bucket import Bucket
    from .budget import Budget
    from .gpu_pool import GpuPool
    from .identity import Identity
    from .job_service import JobService
    from .key import EncryptionKey
    from .network import Network
    from .yard import yard_problems

_HOME = {
    "Bucket": "bucket",
    "Budget": "budget",
    "EncryptionKey": "key",
    "GpuPool": "gpu_pool",
    "Identity": "identity",
    "JobService": "job_service",
    "Network": "network",
    "yard_problems": "yard",
}

__all__ = ["Bucket", "Budget", "EncryptionKey", "GpuPool", "Identity", "JobService", "Network", "yard_problems"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
