"""AWS: the components of every cloud, and Notify and ImageRepository. Importing this package loads no SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import CLOUD_NAMES, lazy_names

if TYPE_CHECKING:
    from .bucket import Bucket
    from .budget import Budget
    from .gpu_pool import GpuPool
    from .identity import Identity
    from .image_repository import ImageRepository
    from .job_service import JobService
    from .key import EncryptionKey
    from .network import Network
    from .notify import Notify
    from .validation import yard_problems

__all__ = [
    "Bucket",
    "Budget",
    "EncryptionKey",
    "GpuPool",
    "Identity",
    "ImageRepository",
    "JobService",
    "Network",
    "Notify",
    "yard_problems",
]

__getattr__, __dir__ = lazy_names(__name__, {**CLOUD_NAMES, "Notify": ".notify", "ImageRepository": ".image_repository"})
