"""Microsoft's machine images for GPU sizes. Pure, without the SDK: `gpuyard pin` reads it too."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ...problems import Problem, show

_URN = re.compile(r"(?P<publisher>[\w.-]+):(?P<offer>[\w.-]+):(?P<sku>[\w.-]+):(?P<version>latest|\d+\.\d+\.\d+)")
_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/"
    r"(?:images/[^/]+|galleries/[^/]+/images/[^/]+(?:/versions/[^/]+)?)",
    re.IGNORECASE,
)
NEWEST = "latest"


class ImageUrn(NamedTuple):
    """An image of the marketplace."""

    publisher: str
    offer: str
    sku: str
    version: str

    def __str__(self) -> str:
        return ":".join(self)


# Ubuntu with drivers, InfiniBand, NCCL and the container toolkit: github.com/Azure/azhpc-images. What is missing has none.
_HPC = {"x86_64": ImageUrn("microsoft-dsvm", "ubuntu-hpc", "2204", NEWEST)}


def image_urn(service: str, architecture: str) -> ImageUrn | None:
    """The image that a service's machines have by default; None: there is none, or the service chooses."""
    return _HPC.get(architecture) if service == "vms" else None


def image_reference(image: str) -> dict[str, Any]:
    """An image as a scale set takes it."""
    match = _URN.fullmatch(image)
    return dict(match.groupdict()) if match else {"id": image}


def image_problems(image: Any) -> list[Problem]:
    """Why this cannot name an image."""
    if not isinstance(image, str) or _URN.fullmatch(image) or _ID.fullmatch(image):
        return []
    allowed = "PUBLISHER:OFFER:SKU:VERSION of the marketplace, or the resource id of an image or a gallery's image"
    return [Problem("image", "not an image", show(image), allowed, "`gpuyard pin` finds the newest")]
