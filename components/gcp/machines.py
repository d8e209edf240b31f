"""Properties of GCP's machine families besides the catalogue's: disk type, Vertex AI's accelerator type, fabric, image."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..catalogue import Machine

__all__ = ["IMAGE_PROJECT", "RULE_LOGS", "MachineFamily", "fabric_of", "family", "image_family"]

RULE_LOGS: Mapping[str, str] = MappingProxyType({"metadata": "EXCLUDE_ALL_METADATA"})
"""Logs of firewall rules: addresses and ports of each connection, without the machines' metadata, which would be most of each record."""
IMAGE_PROJECT = "ubuntu-os-accelerator-images"
"""Google's project with the images of `image_family`."""


class MachineFamily(NamedTuple):
    """Properties that all machines of a family share."""

    disk: str
    """Type of the boot disk, as in Google's blueprints."""
    accelerator: str | None
    """Value of Vertex AI's enum AcceleratorType; None: Vertex AI does not offer the GPU."""
    fabric: str | None = None
    """Key in fabric.FABRICS, for the family's machines with fast NICs. None: no machine of the family has fast NICs."""
    reservation_bound: bool = False
    """Whether machines of a reservation need the provisioning model RESERVATION_BOUND (dense reservations)."""


# Disk types: blueprints of GoogleCloudPlatform/cluster-toolkit@1047080 and cloud.google.com/compute/docs/disks/hyperdisks.
# Accelerators: the enum in google.cloud.aiplatform_v1.
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
    """Return the family of a machine of the catalogue.

    >>> from gpuyard.components.catalogue import table
    >>> family(table("gcp").machines["a3-ultragpu-8g"]).fabric
    'roce'
    """
    return _FAMILIES["-".join(row.name.split("-")[:2])]


def fabric_of(row: Machine) -> str | None:
    """Return the key of a machine's fabric in fabric.FABRICS, or None for a machine without fast NICs.

    >>> from gpuyard.components.catalogue import table
    >>> fabric_of(table("gcp").machines["a3-highgpu-2g"])
    """
    return family(row).fabric if row.fast_nics else None


def image_family(row: Machine) -> str:
    """Return the image family with NVIDIA's driver, container toolkit and gVNIC for the machine's processor."""
    processor = "arm64" if row.architecture == "arm64" else "amd64"
    return f"ubuntu-accelerator-2404-{processor}-with-nvidia-580"
