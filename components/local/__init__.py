"""Components for this machine: a yard to try gpuyard without a cloud account.

from gpuyard.local import Bucket, GpuPool, JobService, Network
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .bucket import Bucket
    from .gpu_pool import GpuPool
    from .job_service import JobService
    from .network import Network
    from .validation import yard_problems

__all__ = ["Bucket", "GpuPool", "JobService", "Network", "yard_problems"]


__getattr__, __dir__ = lazy_names(
    __name__,
    {"Bucket": ".bucket", "GpuPool": ".gpu_pool", "JobService": ".job_service", "Network": ".network", "yard_problems": ".validation"},
)
