"""Google Cloud: Network, EncryptionKey, Bucket, Identity, GpuPool, JobService, Budget and Notify. Importing this package loads no SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import CLOUD_NAMES, lazy_names
from ..lazy_sdk import load_on_use

if TYPE_CHECKING:
    from .bucket import Bucket
    from .budget import Budget
    from .gpu_pool import GpuPool
    from .identity import Identity
    from .job_service import JobService
    from .key import EncryptionKey
    from .network import Network
    from .notify import Notify
    from .validation import yard_problems

__all__ = ["Bucket", "Budget", "EncryptionKey", "GpuPool", "Identity", "JobService", "Network", "Notify", "yard_problems"]

load_on_use("pulumi_gcp")
__getattr__, __dir__ = lazy_names(__name__, {**CLOUD_NAMES, "Notify": ".notify"})
