"""What a machine of Google's has besides the catalogue: disk type, Vertex AI's word for its GPU, image, fabric. One row per family."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..catalogue import Machine

IMAGE_PROJECT = "ubuntu-os-accelerator-images"


class MachineFamily(NamedTuple):
    """What all machines of a family share."""

    disk: str
    """Type of the boot disk."""
    accelerator: str | None
    """Vertex AI's enum AcceleratorType; None: it has no word for it."""
    fabric: str | None = None
    """Row of fabric.py, of those of its machines that have fast cards."""
    reservation_bound: bool = False
    """Whether its reservations are Google's dense ones, whose machines are bound to them (provisioning model RESERVATION_BOUND)."""


# Disks are those of the blueprints of GoogleCloudPlatform/cluster-toolkit@1047080 (cloud.google.com/compute/docs/disks/hyperdisks),
# accelerators those of Vertex AI's own enum.
_FAMILIES: Mapping[str, MachineFamily] = MappingProxyType(
    {
        "g2-standard": MachineFamily("pd-balanced", "NVIDIA_L4"),
        "g4-standard": MachineFamily("hyperdisk-balanced", "NVIDIA_RTX_PRO_6000"),
        "a2-highgpu": MachineFamily("pd-balanced", "NVIDIA_TESLA_A100"),
        "a2-ultragpu": MachineFamily("pd-balanced", "NVIDIA_A100_80GB"),
        "a3-highgpu": MachineFamily("pd-ssd", "NVIDIA_H100_80GB", "tcpx"),
        "a3-megagpu": MachineFamily("pd-ssd", "NVIDIA_H100_MEGA_80GB", "tcpxo"),
        "a3-ultragpu": MachineFamily("hyperdisk-balanced", "NVIDIA_H200_141GB", "roce", reservation_bound=True),
        "a4-highgpu": MachineFamily("hyperdisk-balanced", "NVIDIA_B200", "roce", reservation_bound=True),
        "a4x-highgpu": MachineFamily("hyperdisk-balanced", "NVIDIA_GB200", "roce-4", reservation_bound=True),
        "a4x-maxgpu": MachineFamily("hyperdisk-balanced", None, "roce-metal", reservation_bound=True),
    }
)


def family(row: Machine) -> MachineFamily:
    """The family of a machine of the catalogue.

    >>> from gpuyard.components.catalogue import table
    >>> family(table("gcp").machines["a3-ultragpu-8g"]).fabric
    'roce'
    """
    return _FAMILIES["-".join(row.name.split("-")[:2])]


def fabric_of(row: Machine) -> str | None:
    """The fabric of a machine; None: one card. A part of a machine has none of the whole one's fast cards.

    >>> from gpuyard.components.catalogue import table
    >>> fabric_of(table("gcp").machines["a3-highgpu-2g"])
    """
    return family(row).fabric if row.fast_nics else None


def image_family(row: Machine) -> str:
    """The family of Google's own images with NVIDIA's driver, container toolkit and gVNIC, by processor."""
    processor = "arm64" if row.architecture == "arm64" else "amd64"
    return f"ubuntu-accelerator-2404-{processor}-with-nvidia-580"
