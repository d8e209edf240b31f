"""What Google would refuse of a pool and its model cannot see: zones, images, reservations, what is held. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ..expiry import date_problems
from ..spec.fields import in_cloud
from ..spec.pool import GpuPoolSpec, Reservation
from .cidr import region_of
from .instance_template import is_bound, together
from .key import EncryptionKey

_IMAGE = re.compile(r"projects/[a-z0-9:.-]+/global/images/[a-z0-9-]+")
_RESERVATION = re.compile(r"projects/[a-z0-9:.-]+/zones/([a-z0-9-]+)/reservations/[a-z0-9-]+")
_VERTEX_DISK_GIB = 100  # cloud.google.com/vertex-ai/docs/training/configure-compute#boot_disk_options
_NVLINK_NODES = 18  # that one NVLink domain of 72 GPUs joins: cloud.google.com/compute/docs/instances/create-workload-policy


def pool_problems(raw: Mapping[str, Any], network: str, zones: Sequence[str], expires: str | None) -> list[str]:
    """What Google would refuse of a pool and its model cannot see, a line each."""
    zone, image, capacity, vertex = raw.get("zone"), raw.get("image"), raw.get("capacity"), raw.get("service") == "vertex"
    problems = []
    if isinstance(zone, str) and zone not in zones:
        known = ", ".join(zones)
        problems.append(f"zone: got {zone!r}, allowed: a zone of network {network}: {known}; or give the network that zone")
    if image is not None and vertex:
        problems.append(f"image: got {image!r}, allowed: nothing where service is vertex: the machines are its own; remove image")
    elif isinstance(image, str) and not _IMAGE.fullmatch(image):
        problems.append(f"image: got {image!r}, allowed: projects/P/global/images/NAME, not a family; `gpuyard pin` finds one")
    disk = raw.get("disk_gib")
    if vertex and isinstance(disk, int) and disk < _VERTEX_DISK_GIB:
        problems.append(f"disk_gib: got {disk}, allowed: {_VERTEX_DISK_GIB} or more where service is vertex; remove it, or give that")
    problems += _reservation_problems(capacity.model_dump() if isinstance(capacity, Reservation) else capacity, zone, zones)
    if vertex and raw.get("min_nodes") and capacity not in (None, "on_demand"):
        problems.append(
            f"min_nodes: got {raw['min_nodes']}, allowed: 0 where service is vertex and capacity is not on_demand: "
            "a persistent resource holds machines on demand alone; remove min_nodes"
        )
    return [*problems, *_group_problems(raw), *date_problems(expires)]


def _group_problems(raw: Mapping[str, Any]) -> list[str]:
    """What an instance group cannot do with some machines; what is wrong with the spec itself is told by its model."""
    try:
        spec = GpuPoolSpec.model_validate(dict(raw), context=in_cloud("gcp"))
    except ValidationError:
        return []
    row, problems = spec.row("gcp"), []
    if spec.service != "vms":
        return []
    if is_bound(spec, row) and 0 < spec.min_nodes < spec.max_nodes:
        wants = f"0 or max_nodes ({spec.max_nodes}) where machines are bound to a reservation: a group takes more of them when it has none"
        problems.append(f"min_nodes: got {spec.min_nodes}, allowed: {wants}; give one of the two")
    if "accelerator_topology" in together(spec, row).get("workload_policy", {}) and spec.max_nodes > _NVLINK_NODES:
        wants = f"at most {_NVLINK_NODES} of {row.name}, which NVLink joins"
        problems.append(f"max_nodes: got {spec.max_nodes}, allowed: {wants}; make a pool for each {_NVLINK_NODES}")
    return problems


def key_problems(key: EncryptionKey | None, service: str) -> list[str]:
    """Why a pool's disks cannot be under this key."""
    wanted = "compute" if service == "vms" else "aiplatform"
    if key is None or wanted in key.services:
        return []
    return [f"key: got {key.logical_name}, allowed: a key that {wanted} may use; make it with uses=({wanted!r},)"]


def _reservation_problems(capacity: Any, zone: Any, zones: Sequence[str]) -> list[str]:
    reserved = capacity.get("reservation") if isinstance(capacity, Mapping) else None
    if not isinstance(reserved, str) or not reserved:
        return []
    match = _RESERVATION.fullmatch(reserved)
    if match is None:
        wants = "projects/P/zones/Z/reservations/NAME"
        return [f"capacity.reservation: got {reserved!r}, allowed: {wants}; the console shows it under Compute Engine, Reservations"]
    if isinstance(zone, str) and match[1] != zone:
        return [f"zone: got {zone!r}, allowed: {match[1]}, where the reservation is; correct one of the two"]
    regions = sorted({region_of(known) for known in zones})
    if zone is None and regions and region_of(match[1]) not in regions:
        wants = f"one in {', '.join(regions)}, where the network is"
        return [f"capacity.reservation: got {reserved!r}, allowed: {wants}; machines reach only their own region's network"]
    return []
