"""Machine images: AWS's own by public parameter, and the root device that a launch template has to name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pulumi
import pulumi_aws as aws

from ..pool_spec import GpuPoolSpec
from .account import AwsComponent

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
_AMAZON_LINUX_ROOT = "/dev/xvda"  # of every image above


def image_parameter(service: str, architecture: str) -> str | None:
    """The public parameter with the newest image for a service's machines; None: AWS has none, or the service holds its machines."""
    return PARAMETERS.get(service, {}).get(architecture)


def image_of(pool: AwsComponent, spec: GpuPoolSpec) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """The id of a pool's image and its root device: of the one it names (looked up), else of the newest that AWS has today.

    A wrong root device would add a second disk and leave the first as the image has it, not encrypted: so it is asked, not guessed.
    """
    opts = pulumi.InvokeOptions(parent=pool)
    if spec.image is not None:
        by_id = [{"name": "image-id", "values": [spec.image]}]
        found = aws.ec2.get_ami_output(filters=by_id, include_deprecated=True, opts=opts)
        return pulumi.Output.from_input(spec.image), found.apply(lambda image: str(image.root_device_name))
    parameter = aws.ssm.get_parameter_output(name=image_parameter(spec.service, spec.row("aws").architecture), opts=opts)
    # not a secret, though the provider marks every parameter's value as one
    return parameter.apply(lambda known: str(known.insecure_value)), pulumi.Output.from_input(_AMAZON_LINUX_ROOT)
