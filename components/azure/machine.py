"""The machines of a `vms` pool: image, disk, network card, security, login, boot script, placement."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, NamedTuple

import pulumi

from ...plain_data import PlainDict
from .. import catalogue
from ..boot import Boot, boot_script, multipart
from ..spec.capacity import Reservation
from ..spec.pool import GpuPoolSpec
from .fabric import Orchestration, has_trusted_launch, placement_arguments
from .images import image_reference, image_urn
from .replacement_limit import health_extension

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = [
    "ADMIN",
    "NOBODYS_KEY",
    "PreparedMachines",
    "boot_of",
    "capacity_options",
    "custom_data",
    "image_of",
    "login",
    "os_disk",
    "prepare_machines",
    "security",
]

_DISK_GIB = 200
_LOCAL_DISKS = "/dev/disk/by-id/nvme-Microsoft_NVMe_Direct_Disk*"
_PREFIX_LIMIT = 30  # maximum number of characters of the pool's name in a machine's host name
_NOTICE = "PT5M"  # time between the notice in a machine's metadata service and its termination
_FLEXIBLE_API = "2020-11-01"  # Azure requires it where a flexible scale set makes network cards
ADMIN = "gpuyard"
NOBODYS_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICp8+LhBQqvuI9Pwvyr5Xyn5qByT4N5kVqwj5y5ZSaA9"
"""A public key whose private key nobody has, so nobody can log in with it. Azure requires a password or a public key for a Linux machine.
The key is a digest that happens to be a valid point of the curve; a test derives it."""
# Size -> GiB of its temporary disk, if Microsoft's pages state it and allow the OS disk on it
_TEMPORARY_GIB = {
    "Standard_ND96amsr_A100_v4": 6400,
    "Standard_ND96is_H100_v5": 1000,
    "Standard_ND96isr_H100_v5": 1000,
    "Standard_ND96isr_H200_v5": 1024,
}


class PreparedMachines(NamedTuple):
    """The arguments with which a scale set makes a pool's machines."""

    profile: PlainDict
    """The scale set's `virtual_machine_profile`, which includes the image."""
    placement: PlainDict
    """The scale set's placement arguments."""


def prepare_machines(
    pool: GpuPool, orchestration: Orchestration, ssh_public_key: str | None, health: pulumi.Output[str], *, encryption_at_host: bool
) -> PreparedMachines:
    """Return the template, image and placement of the pool's machines. `health`: shell code that goes before boot.sh."""
    spec, row = pool.spec, pool.machine
    data = health.apply(lambda before: custom_data(boot_of(row), before))
    profile = {
        **capacity_options(spec),
        "security_profile": security(row, encryption_at_host=encryption_at_host),
        "storage_profile": {"image_reference": image_of(spec, row), "os_disk": os_disk(spec, row)},
        "os_profile": login(ssh_public_key, pool.logical_name[:_PREFIX_LIMIT], data),
        "network_profile": _network_profile(pool, orchestration),
        "extension_profile": {"extensions": [health_extension()]},
        "scheduled_events_profile": {"terminate_notification_profile": {"enable": True, "not_before_timeout": _NOTICE}},
    }
    return PreparedMachines(profile, placement_arguments(row, orchestration))


def _network_profile(pool: GpuPool, orchestration: Orchestration) -> PlainDict:
    """Return one Ethernet card without a public address. InfiniBand cards belong to the machine's size, not to the template.

    In an adopted network the card has its own security group, because the yard does not change the subnet.
    """
    subnet, group = {"id": pool.subnet_ids[0]}, {"id": pool.security_group_id}
    address = {"name": "private", "subnet": subnet, "application_security_groups": [group]}
    card: PlainDict = {"name": "nodes", "primary": True, "enable_accelerated_networking": True, "ip_configurations": [address]}
    rules: pulumi.Output[str] | None = pool.network.card_rules_id
    if rules is not None:
        card["network_security_group"] = {"id": rules}
    version = {"network_api_version": _FLEXIBLE_API} if orchestration == "flexible" else {}
    return {"network_interface_configurations": [card], **version}


def boot_of(row: catalogue.Machine) -> Boot:
    """Return the settings of a machine's boot script."""
    return Boot(
        gpus=row.gpus,
        fast_nics=row.fast_nics,
        nic_driver="mlx5_core" if row.fast_nics else "",
        nic_link="InfiniBand" if row.fast_nics else "",  # the Ethernet card has the same driver
        disks=_LOCAL_DISKS if row.local_nvme_gb else "",
        containers="optional",
    )


def custom_data(boot: Boot, before: str = "") -> str:
    """Return the boot script for cloud-init, in base64. Every user of the machine can read it; it contains no secret."""
    return base64.b64encode(multipart(boot_script(boot, before)).encode("ascii")).decode("ascii")


def os_disk(spec: GpuPoolSpec, row: catalogue.Machine) -> PlainDict:
    """Return the OS disk: on the machine's temporary disk if it is large enough (faster, not billed), else a managed disk."""
    size = spec.disk_gib or _DISK_GIB
    disk: PlainDict = {"create_option": "FromImage", "disk_size_gb": size, "os_type": "Linux"}
    if size <= _TEMPORARY_GIB.get(row.name, 0):
        return {**disk, "caching": "ReadOnly", "diff_disk_settings": {"option": "Local", "placement": "ResourceDisk"}}
    return {**disk, "caching": "ReadWrite", "managed_disk": {"storage_account_type": "Premium_LRS"}}


def security(row: catalogue.Machine, *, encryption_at_host: bool = True) -> PlainDict:
    """Return the security profile: encryption at host, and a virtual TPM for sizes with Trusted Launch.

    Secure Boot is off: NVIDIA's driver in the image is not signed for it.
    """
    host = {"encryption_at_host": encryption_at_host}
    if not has_trusted_launch(row):
        return host
    return {**host, "security_type": "TrustedLaunch", "uefi_settings": {"v_tpm_enabled": True, "secure_boot_enabled": False}}


def capacity_options(spec: GpuPoolSpec) -> PlainDict:
    """Return the capacity arguments of the scale set: spot, a reservation, or on demand.

    Spot costs at most the on-demand price. An evicted machine is deleted with its disk.
    """
    if spec.mode == "spot":
        return {"priority": "Spot", "eviction_policy": "Delete", "billing_profile": {"max_price": -1}}
    if isinstance(spec.capacity, Reservation):
        return {"priority": "Regular", "capacity_reservation": {"capacity_reservation_group": {"id": spec.capacity.reservation}}}
    return {"priority": "Regular"}


def login(ssh_public_key: str | None, prefix: str, data: pulumi.Input[str]) -> PlainDict:
    """Return the login settings: no passwords. `prefix`: beginning of the machines' host names."""
    key = {"path": f"/home/{ADMIN}/.ssh/authorized_keys", "key_data": ssh_public_key or NOBODYS_KEY}
    return {
        "computer_name_prefix": prefix,
        "admin_username": ADMIN,
        "custom_data": data,
        "linux_configuration": {"disable_password_authentication": True, "ssh": {"public_keys": [key]}},
    }


def image_of(spec: GpuPoolSpec, row: catalogue.Machine) -> PlainDict:
    """Return the image that the pool names, by default Microsoft's newest image."""
    return image_reference(spec.image or str(image_urn("vms", row.architecture)))
