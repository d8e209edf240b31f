"""Machine images for GPU sizes: Microsoft's HPC images, URNs and resource ids. Pure functions that import no SDK."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...problems import Problem, show

__all__ = ["NEWEST", "ImageUrn", "image_problems", "image_reference", "image_urn", "is_managed_image"]

_URN = re.compile(r"(?P<publisher>[\w.-]+):(?P<offer>[\w.-]+):(?P<sku>[\w.-]+):(?P<version>latest|\d+\.\d+\.\d+)")
_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/"
    r"(?:images/[^/]+|galleries/[^/]+/images/[^/]+(?:/versions/[^/]+)?)",
    re.IGNORECASE,
)
NEWEST = "latest"
"""The version in a URN that means the newest image. Azure chooses it when it makes a machine."""


class ImageUrn(NamedTuple):
    """URN of a marketplace image. Its text is PUBLISHER:OFFER:SKU:VERSION."""

    publisher: str
    offer: str
    sku: str
    version: str

    def __str__(self) -> str:
        return ":".join(self)


# Ubuntu with drivers, InfiniBand, NCCL and the container toolkit, by architecture: github.com/Azure/azhpc-images
_HPC = {"x86_64": ImageUrn("microsoft-dsvm", "ubuntu-hpc", "2204", NEWEST)}


def image_urn(service: str, architecture: str) -> ImageUrn | None:
    """Return the default image of a service's machines. None: Microsoft has no image for the architecture, or the service chooses it."""
    return _HPC.get(architecture) if service == "vms" else None


def image_reference(image: str) -> dict[str, str]:
    """Return the argument `image_reference` of a scale set for a URN or a resource id."""
    match = _URN.fullmatch(image)
    return match.groupdict() if match else {"id": image}


def is_managed_image(image: object) -> bool:
    """Return whether the value is the id of a managed image. Such an image cannot start with Trusted Launch."""
    return isinstance(image, str) and bool(_ID.fullmatch(image)) and "/galleries/" not in image.lower()


def image_problems(image: object) -> list[Problem]:
    """Return a problem unless the value is a URN, the resource id of an image, or None for the default image."""
    if not isinstance(image, str) or _URN.fullmatch(image) or _ID.fullmatch(image):
        return []
    allowed = "PUBLISHER:OFFER:SKU:VERSION of the marketplace, or the resource id of an image"
    return [Problem("image", "not an image", show(image), allowed, "remove image and run `gpuyard pin`, which finds the newest image")]
