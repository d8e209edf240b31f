"""Public SSM parameters with AWS's newest machine images. This module imports no SDK, because `gpuyard pin` reads it too."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["AMAZON_LINUX_ROOT", "PARAMETERS", "image_parameter"]

# Service -> processor -> public parameter of the newest image. If there is none, the pool must set `image`.
PARAMETERS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        # Batch needs the ECS agent: docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html
        "batch": MappingProxyType({"x86_64": "/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id"}),
        # drivers, CUDA, EFA and the container toolkit: docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html
        "vms": MappingProxyType(
            {
                processor: f"/aws/service/deeplearning/ami/{processor}/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
                for processor in ("x86_64", "arm64")
            }
        ),
    }
)
AMAZON_LINUX_ROOT = "/dev/xvda"
"""Root device of every image above."""


def image_parameter(service: str, architecture: str) -> str | None:
    """Return the name of the public SSM parameter with the newest machine image. None: AWS has no image, or the service chooses it."""
    return PARAMETERS.get(service, {}).get(architecture)
