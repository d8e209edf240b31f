"""What every machine of a `vms` pool is made with: image, disk, card, security, login, boot script. Pure."""

from __future__ import annotations

import base64
from typing import Any

from .. import catalogue
from ..boot import Boot, boot_script, multipart
from ..spec.pool import GpuPoolSpec, Reservation
from .images import image_reference, image_urn

_DISK_GIB = 200
_LOCAL_DISKS = "/dev/disk/by-id/nvme-Microsoft_NVMe_Direct_Disk*"
ADMIN = "gpuyard"
NOBODYS_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICp8+LhBQqvuI9Pwvyr5Xyn5qByT4N5kVqwj5y5ZSaA9"
"""Azure makes no Linux machine without a password or a public key. This one is a digest that happens to be a point of the curve: its
private half was never made and cannot be found, so nobody logs in. A test derives it again."""
# Size -> GiB of its temporary disk, where Microsoft's pages state that and that the system's disk may be on it
_TEMPORARY_GIB = {
    "Standard_ND96amsr_A100_v4": 6400,
    "Standard_ND96is_H100_v5": 1000,
    "Standard_ND96isr_H100_v5": 1000,
    "Standard_ND96isr_H200_v5": 1024,
}
_UNTRUSTED = ("_A100_v4", "asr_v4")  # ND A100: learn.microsoft.com/azure/virtual-machines/trusted-launch


def boot_of(row: catalogue.Machine) -> Boot:
    """What the boot script of a machine is told."""
    return Boot(
        gpus=row.gpus,
        fast_nics=row.fast_nics,
        nic_driver="mlx5_core" if row.fast_nics else "",
        disks=_LOCAL_DISKS if row.local_nvme_gb else "",
        containers="optional",
    )


def custom_data(boot: Boot) -> str:
    """The boot script as cloud-init reads it, in base64. Whoever is on the machine can read it: there is no secret in it."""
    return base64.b64encode(multipart(boot_script(boot)).encode("ascii")).decode("ascii")


def os_disk(spec: GpuPoolSpec, row: catalogue.Machine) -> dict[str, Any]:
    """On the machine's own temporary disk where that is large enough: faster, free, and gone with the machine; else a managed one."""
    size = spec.disk_gib or _DISK_GIB
    disk: dict[str, Any] = {"create_option": "FromImage", "disk_size_gb": size, "os_type": "Linux"}
    if size <= _TEMPORARY_GIB.get(row.name, 0):
        return {**disk, "caching": "ReadOnly", "diff_disk_settings": {"option": "Local", "placement": "ResourceDisk"}}
    return {**disk, "caching": "ReadWrite", "managed_disk": {"storage_account_type": "Premium_LRS"}}


def security(row: catalogue.Machine, *, encryption_at_host: bool = True) -> dict[str, Any]:
    """Encryption on the host, and a virtual TPM where the size has Trusted Launch.

    Secure Boot stays off: NVIDIA's driver in the image is not signed for it.
    """
    host = {"encryption_at_host": encryption_at_host}
    if row.architecture != "x86_64" or (row.name.startswith("Standard_ND") and row.name.endswith(_UNTRUSTED)):
        return host
    return {**host, "security_type": "TrustedLaunch", "uefi_settings": {"v_tpm_enabled": True, "secure_boot_enabled": False}}


def bought(spec: GpuPoolSpec) -> dict[str, Any]:
    """Where the machines come from. Spot pays at most the on-demand price and loses what is evicted, its disk included."""
    if spec.mode == "spot":
        return {"priority": "Spot", "eviction_policy": "Delete", "billing_profile": {"max_price": -1}}
    if isinstance(spec.capacity, Reservation):
        return {"priority": "Regular", "capacity_reservation": {"capacity_reservation_group": {"id": spec.capacity.reservation}}}
    return {"priority": "Regular"}


def login(ssh_public_key: str | None, prefix: str, data: str) -> dict[str, Any]:
    """No passwords. `prefix`: with which the machines' own names begin."""
    key = {"path": f"/home/{ADMIN}/.ssh/authorized_keys", "key_data": ssh_public_key or NOBODYS_KEY}
    return {
        "computer_name_prefix": prefix,
        "admin_username": ADMIN,
        "custom_data": data,
        "linux_configuration": {"disable_password_authentication": True, "ssh": {"public_keys": [key]}},
    }


def image_of(spec: GpuPoolSpec, row: catalogue.Machine) -> dict[str, Any]:
    """The pool's own image, else the newest of Microsoft's: new machines then have what is newest on their day."""
    return image_reference(spec.image or str(image_urn("vms", row.architecture)))
