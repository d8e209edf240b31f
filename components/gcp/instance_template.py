"""What every machine of a pool is launched with: image, disk, cards, account, metadata, boot script, where its capacity comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_gcp import compute

from ..boot import Boot, boot_script
from ..catalogue import Machine
from ..spec.pool import FlexStart, GpuPoolSpec, Reservation
from .fabric import network_interfaces
from .machines import IMAGE_PROJECT, fabric_of, family, image_family
from .project import GcpComponent

_LOCAL_DISKS = "/dev/disk/by-id/google-local-nvme-ssd-*"
_RDMA_DRIVER = "mlx5_core"
_NVLINK = "1x72"  # GPUs that one NVLink domain joins; with it a group has at most 18 machines
_RESERVED = re.compile(r"projects/([^/]+)/zones/[^/]+/reservations/([^/]+)")
_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]  # what it may do is said by its grants, not by scopes


def boot_of(row: Machine) -> Boot:
    """What the boot script of a machine is told."""
    roce = str(fabric_of(row)).startswith("roce")  # cards of TCPX and TCPXO are plain gVNICs: there is no driver to look for
    return Boot(
        gpus=row.gpus,
        fast_nics=row.fast_nics if roce else 0,
        nic_driver=_RDMA_DRIVER if roce else "",
        disks=_LOCAL_DISKS if row.local_nvme_gb else "",
        containers="optional",
        log_driver="gcplogs",
        log_options={"mode": "non-blocking"},
    )


def metadata(row: Machine) -> dict[str, str]:
    """People come by OS Login alone, no key of the project works, no serial console, and no update reboots a machine that trains."""
    return {
        "enable-oslogin": "TRUE",
        "block-project-ssh-keys": "TRUE",
        "serial-port-enable": "FALSE",
        "google_disable_automatic_updates": "TRUE",
        "startup-script": boot_script(boot_of(row)),
    }


def is_bound(spec: GpuPoolSpec, row: Machine) -> bool:
    """Whether the machines live and end with a reservation of Google's dense kind."""
    return spec.mode == "reservation" and family(row).reservation_bound


def scheduling(spec: GpuPoolSpec, row: Machine) -> dict[str, Any]:
    """How machines are bought. Machines with GPUs cannot be moved while they run, so maintenance ends them."""
    shared = {"on_host_maintenance": "TERMINATE"}
    if spec.mode == "spot":
        return {
            **shared,
            "provisioning_model": "SPOT",
            "preemptible": True,
            "automatic_restart": False,
            "instance_termination_action": "DELETE",  # the group makes another when there is one
        }
    if isinstance(spec.capacity, FlexStart):
        return {
            **shared,
            "provisioning_model": "FLEX_START",
            "automatic_restart": False,
            "instance_termination_action": "DELETE",
            "max_run_duration": {"seconds": spec.capacity.max_hours * 3600},
        }
    if is_bound(spec, row):
        bound = {"provisioning_model": "RESERVATION_BOUND", "instance_termination_action": "DELETE"}
        return {**shared, **bound, "automatic_restart": True}
    return {**shared, "provisioning_model": "STANDARD", "automatic_restart": True}


def reservation(spec: GpuPoolSpec) -> dict[str, Any]:
    """Where the machines come from: one reservation and nothing but it; else none, so that nobody's reservation is eaten by chance."""
    if not isinstance(spec.capacity, Reservation):
        return {"type": "NO_RESERVATION"}
    words = _RESERVED.fullmatch(spec.capacity.reservation)  # Compute Engine's form of the name leaves the zone out, Vertex AI's does not
    name = f"projects/{words[1]}/reservations/{words[2]}" if words else spec.capacity.reservation
    named = {"key": "compute.googleapis.com/reservation-name", "values": [name]}
    return {"type": "SPECIFIC_RESERVATION", "specific_reservation": named}


def image_of(pool: GcpComponent, spec: GpuPoolSpec, row: Machine) -> pulumi.Output[str]:
    """The image a pool names, else the newest of the vendor's family today."""
    if spec.image is not None:
        return pulumi.Output.from_input(spec.image)
    found = compute.get_image_output(family=image_family(row), project=IMAGE_PROJECT, opts=pulumi.InvokeOptions(parent=pool))
    return pulumi.Output.from_input(found.apply(lambda image: str(image.self_link)))


def together(spec: GpuPoolSpec, row: Machine) -> dict[str, Any]:
    """How machines whose nodes talk over fast cards are brought close to each other: a policy's one property, or nothing.

    On demand and spot: compact placement, said by the template. Flex start takes no such policy but one of the whole group, and so do
    machines that NVLink joins; other reservations are dense anyway.
    """
    if not row.fast_nics:
        return {}
    if row.accelerator in ("GB200", "GB300"):
        return {"workload_policy": {"type": "HIGH_THROUGHPUT", "accelerator_topology": _NVLINK}}
    if spec.mode == "flex_start":
        return {"workload_policy": {"type": "HIGH_THROUGHPUT", "max_topology_distance": "BLOCK"}} if family(row).reservation_bound else {}
    return {"group_placement_policy": {"collocation": "COLLOCATED"}} if spec.mode in ("on_demand", "spot") else {}


def placement(pool: GcpComponent, spec: GpuPoolSpec, row: Machine, region: str) -> compute.ResourcePolicy | None:
    """The policy, where there is one."""
    policy = together(spec, row)
    return compute.ResourcePolicy(pool.child_name("placement"), region=region, opts=pool.child_options(), **policy) if policy else None


def instance_template(
    pool: GcpComponent,
    spec: GpuPoolSpec,
    row: Machine,
    *,
    image: pulumi.Input[str],
    subnet_id: pulumi.Input[str],
    fabric: Sequence[Sequence[pulumi.Input[str]]],
    account: pulumi.Input[str],
    policy: compute.ResourcePolicy | None,
    key_id: pulumi.Input[str] | None,
) -> compute.InstanceTemplate:
    """The template. Google changes none in place: a new one is made first, then the group takes it.

    The labels leave `expires` out: a new date would be a new template, and replace machines for that.
    """
    labels = {key: value for key, value in pool.gcp_labels("node").items() if key != "expires"}
    disk = {
        "boot": True,
        "auto_delete": True,
        "source_image": image,
        "disk_type": family(row).disk,
        "disk_size_gb": spec.root_disk_gib,
        "labels": labels,
        **({"disk_encryption_key": {"kms_key_self_link": key_id}} if key_id is not None else {}),
    }
    compact = policy is not None and "group_placement_policy" in together(spec, row)
    return compute.InstanceTemplate(
        pool.child_name("template"),
        machine_type=row.name,
        disks=[disk],
        network_interfaces=network_interfaces(fabric_of(row), subnet_id, fabric),
        can_ip_forward=False,
        scheduling=scheduling(spec, row),
        reservation_affinity=reservation(spec),
        service_account={"email": account, "scopes": _SCOPES},
        # no secure boot: NVIDIA's modules of the vendor's images are not all signed for it
        shielded_instance_config={"enable_vtpm": True, "enable_integrity_monitoring": True, "enable_secure_boot": False},
        metadata=metadata(row),
        labels=labels,
        opts=pool.child_options(),
        **({"resource_policies": policy.id} if compact and policy else {}),
    )
