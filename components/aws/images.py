"""AWS's own machine images, by the public parameter that holds the newest. Pure, without the SDK: `gpuyard pin` reads it too."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Service -> processor -> public parameter that holds the newest image. What is missing has none: the pool must name its image.
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
    """The public parameter with the newest image for a service's machines; None: AWS has none, or the service holds its machines."""
    return PARAMETERS.get(service, {}).get(architecture)
