"""The instance template of a pool: image, disk, network cards, service account, metadata, boot script, capacity."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pulumi
from pulumi_gcp import compute

from ...plain_data import PlainDict
from ..boot import Boot, boot_script
from ..catalogue import Machine
from ..spec.capacity import FlexStart, Reservation
from ..spec.pool import GpuPoolSpec
from .cidr import region_of
from .fabric import make_fabric, network_interfaces
from .machines import IMAGE_PROJECT, fabric_of, family, image_family
from .project import ProjectLookup

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["PreparedMachines", "boot_of", "is_bound", "metadata", "placement_policy", "prepare_machines", "reservation", "scheduling"]

_LOCAL_DISKS = "/dev/disk/by-id/google-local-nvme-ssd-*"
_RDMA_DRIVER = "mlx5_core"
_NVLINK = "1x72"  # topology of one NVLink domain of 72 GPUs; a group with it has at most 18 machines
_RESERVED = re.compile(r"projects/([^/]+)/zones/[^/]+/reservations/([^/]+)")
_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]  # the account's roles limit its rights, not these scopes


class PreparedMachines(NamedTuple):
    """The instance template and the placement of a pool's machines. The template includes the image and compact placement."""

    template: compute.InstanceTemplate
    workload_policy: pulumi.Output[str] | None
    """Workload policy that places all machines of the group close together. None: the group needs none."""
    bulk: bool
    """Whether the group gets all of its machines or none."""


def prepare_machines(pool: GpuPool, zone: str, account: pulumi.Output[str], project: ProjectLookup) -> PreparedMachines:
    """Make the networks of the pool's fast cards, its placement policy and its instance template."""
    wanted = placement_policy(pool.spec, pool.machine)
    policy = _resource_policy(pool, region_of(zone), wanted) if wanted else None
    name = fabric_of(pool.machine)
    fabric = make_fabric(pool, name, zone, account, project.id) if name else []
    whole_group = policy is not None and "workload_policy" in wanted
    template = _instance_template(pool, zone, fabric, account, None if whole_group else policy)
    return PreparedMachines(template, policy.id if policy and whole_group else None, is_bound(pool.spec, pool.machine))


def _resource_policy(pool: GpuPool, region: str, policy: PlainDict) -> compute.ResourcePolicy:
    return compute.ResourcePolicy(pool.child_name("placement"), region=region, opts=pool.child_options(), **policy)


def boot_of(row: Machine) -> Boot:
    """Return the settings of a machine's boot script."""
    roce = str(fabric_of(row)).startswith("roce")  # cards of TCPX and TCPXO are plain gVNICs, without a driver of their own
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
    """Return the metadata: login only through OS Login, no SSH keys of the project, no serial console, no automatic updates that reboot."""
    return {
        "enable-oslogin": "TRUE",
        "block-project-ssh-keys": "TRUE",
        "serial-port-enable": "FALSE",
        "google_disable_automatic_updates": "TRUE",
        "startup-script": boot_script(boot_of(row)),
    }


def is_bound(spec: GpuPoolSpec, row: Machine) -> bool:
    """Return whether the machines come from a dense reservation: Google deletes them when the reservation ends."""
    return spec.mode == "reservation" and family(row).reservation_bound


def scheduling(spec: GpuPoolSpec, row: Machine) -> PlainDict:
    """Return the scheduling arguments by capacity mode. Machines with GPUs cannot migrate, so host maintenance terminates them."""
    shared = {"on_host_maintenance": "TERMINATE"}
    if spec.mode == "spot":
        return {
            **shared,
            "provisioning_model": "SPOT",
            "preemptible": True,
            "automatic_restart": False,
            "instance_termination_action": "DELETE",  # the group makes another one once there is capacity
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


def reservation(spec: GpuPoolSpec) -> PlainDict:
    """Return the reservation affinity: only the pool's own reservation, or no reservation. The pool then never uses another reservation."""
    if not isinstance(spec.capacity, Reservation):
        return {"type": "NO_RESERVATION"}
    words = _RESERVED.fullmatch(spec.capacity.reservation)  # the spec has Vertex AI's form, with a zone; Compute Engine's form has none
    name = f"projects/{words[1]}/reservations/{words[2]}" if words else spec.capacity.reservation
    named = {"key": "compute.googleapis.com/reservation-name", "values": [name]}
    return {"type": "SPECIFIC_RESERVATION", "specific_reservation": named}


def placement_policy(spec: GpuPoolSpec, row: Machine) -> PlainDict:
    """Return the argument of a resource policy that places machines with fast cards close together. Empty for other machines.

    On-demand and spot machines: compact placement, in the template. Flex start of reservation-bound families, and machines with an NVLink
    domain: a workload policy of the group. Other reservations need no policy, because their machines are already close together.
    """
    if not row.fast_nics:
        return {}
    if row.accelerator in ("GB200", "GB300"):
        return {"workload_policy": {"type": "HIGH_THROUGHPUT", "accelerator_topology": _NVLINK}}
    if spec.mode == "flex_start":
        return {"workload_policy": {"type": "HIGH_THROUGHPUT", "max_topology_distance": "BLOCK"}} if family(row).reservation_bound else {}
    return {"group_placement_policy": {"collocation": "COLLOCATED"}} if spec.mode in ("on_demand", "spot") else {}


def _image(pool: GpuPool) -> pulumi.Output[str]:
    """Return the image that the pool names, by default the newest image of Google's image family."""
    if pool.spec.image is not None:
        return pulumi.Output.from_input(pool.spec.image)
    found = compute.get_image_output(family=image_family(pool.machine), project=IMAGE_PROJECT, opts=pulumi.InvokeOptions(parent=pool))
    return pulumi.Output.from_input(found.apply(lambda image: str(image.self_link)))


def _instance_template(
    pool: GpuPool,
    zone: str,
    fabric: list[list[pulumi.Output[str]]],
    account: pulumi.Input[str],
    compact_policy: compute.ResourcePolicy | None,
) -> compute.InstanceTemplate:
    """Make the template. A template cannot be changed in place: Pulumi makes a new one first, then the group uses it.

    Google refuses to delete a template while its machines run. Therefore `pulumi up` and `destroy` keep old templates, which cost nothing:
    github.com/hashicorp/terraform-provider-google/issues/10365 (2026-12-01). The labels omit `expires`: a new date would make a new
    template and replace machines.
    """
    labels = {key: value for key, value in pool.gcp_labels("node").items() if key != "expires"}
    disk = {
        "boot": True,
        "auto_delete": True,
        "source_image": _image(pool),
        "disk_type": family(pool.machine).disk,
        "disk_size_gb": pool.spec.root_disk_gib,
        "labels": labels,
        **({"disk_encryption_key": {"kms_key_self_link": pool.key_id}} if pool.key_id is not None else {}),
    }
    return compute.InstanceTemplate(
        pool.child_name("template"),
        machine_type=pool.machine.name,
        disks=[disk],
        network_interfaces=network_interfaces(fabric_of(pool.machine), pool.network.subnet_ids[zone], fabric),
        can_ip_forward=False,
        scheduling=scheduling(pool.spec, pool.machine),
        reservation_affinity=reservation(pool.spec),
        service_account={"email": account, "scopes": _SCOPES},
        # no secure boot: not all of NVIDIA's kernel modules in the vendor's images are signed for it
        shielded_instance_config={"enable_vtpm": True, "enable_integrity_monitoring": True, "enable_secure_boot": False},
        metadata=metadata(pool.machine),
        labels=labels,
        opts=pool.child_options(retain_on_delete=True),
        **({"resource_policies": compact_policy.id} if compact_policy else {}),
    )
