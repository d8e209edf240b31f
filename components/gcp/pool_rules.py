"""Google Cloud's rules that GpuPoolSpec cannot check: zones, images, reservations, persistent resources, keys. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ...plain_data import PlainMapping
from ...problems import Problem, show
from ..catalogue import Machine
from ..expiry import date_problems
from ..spec.capacity import Reservation
from ..spec.fields import in_cloud
from ..spec.pool import GpuPoolSpec
from .cidr import region_of
from .instance_template import is_bound, placement_policy
from .key import EncryptionKey
from .machines import fabric_of

__all__ = ["key_problems", "pool_problems"]

_IMAGE = re.compile(r"projects/[a-z0-9:.-]+/global/images/[a-z0-9-]+")
_RESERVATION = re.compile(r"projects/[a-z0-9:.-]+/zones/([a-z0-9-]+)/reservations/[a-z0-9-]+")
_VERTEX_DISK_GIB = 100  # cloud.google.com/vertex-ai/docs/training/configure-compute#boot_disk_options
_NVLINK_NODES = 18  # in one NVLink domain of 72 GPUs: cloud.google.com/compute/docs/instances/create-workload-policy


def pool_problems(raw: PlainMapping, network: str, zones: Sequence[str], expires: str | None) -> list[Problem]:
    """Return the pool's problems that GpuPoolSpec cannot find. `raw`: the spec as the user wrote it. `expires`: the tag's value."""
    zone, image, capacity, vertex = raw.get("zone"), raw.get("image"), raw.get("capacity"), raw.get("service") == "vertex"
    problems = []
    if isinstance(zone, str) and zone not in zones:
        known = ", ".join(zones)
        fix = f"add {zone} to the zones of network {network}"
        problems.append(Problem("zone", f"network {network} has no subnet in this zone", show(zone), known, fix))
    if image is not None and vertex:
        problems.append(
            Problem("image", "Vertex AI chooses the machine image", show(image), "no image for service: vertex", "remove image")
        )
    elif isinstance(image, str) and not _IMAGE.fullmatch(image):
        allowed, fix = "projects/P/global/images/NAME", "remove image and run `gpuyard pin`, which finds the newest image"
        problems.append(Problem("image", "not an image", show(image), allowed, fix))
    disk = raw.get("disk_gib")
    if vertex and isinstance(disk, int) and disk < _VERTEX_DISK_GIB:
        allowed = f"{_VERTEX_DISK_GIB} or more for service: vertex"
        problems.append(Problem("disk_gib", "disk too small", str(disk), allowed, f"remove disk_gib, or set {_VERTEX_DISK_GIB}"))
    problems += _reservation_problems(capacity.model_dump() if isinstance(capacity, Reservation) else capacity, zone, zones)
    if vertex and raw.get("min_nodes") and capacity not in (None, "on_demand"):
        what, allowed = "Vertex AI keeps only on-demand machines running", "0 unless capacity is on_demand"
        problems.append(Problem("min_nodes", what, show(raw["min_nodes"]), allowed, "remove min_nodes"))
    return [*problems, *_group_problems(raw), *date_problems(expires)]


def _group_problems(raw: PlainMapping) -> list[Problem]:
    """Return the problems of the machines of a `vms` pool. For an invalid spec return []: GpuPoolSpec reports it."""
    try:
        spec = GpuPoolSpec.model_validate(dict(raw), context=in_cloud("gcp"))
    except ValidationError:
        return []
    row, problems = spec.row("gcp"), []
    if spec.service != "vms":
        return _plugin_problems(spec, row)
    if is_bound(spec, row) and 0 < spec.min_nodes < spec.max_nodes:
        what = "an instance group starts the machines of a reservation all at once"
        problems.append(Problem("min_nodes", what, str(spec.min_nodes), f"0 or max_nodes ({spec.max_nodes}) for a reservation"))
    if "accelerator_topology" in placement_policy(spec, row).get("workload_policy", {}) and spec.max_nodes > _NVLINK_NODES:
        allowed, fix = f"at most {_NVLINK_NODES} of {row.name}", f"declare a pool for each {_NVLINK_NODES} nodes"
        problems.append(Problem("max_nodes", "more nodes than one NVLink domain has", str(spec.max_nodes), allowed, fix))
    return problems


def _plugin_problems(spec: GpuPoolSpec, row: Machine) -> list[Problem]:
    """Return a problem for multi-node pools whose network needs a program on the machine, outside of the job's container.

    GPUDirect-TCPX and TCPXO need Google's receive-datapath manager, a privileged container on each machine, which a CustomJob cannot start:
    cloud.google.com/compute/docs/gpus/gpudirect (2026-12-01).
    """
    if spec.max_nodes == 1 or fabric_of(row) not in ("tcpx", "tcpxo"):
        return []
    what = "a job on Vertex AI cannot start the receive-datapath manager that this machine's network needs between nodes"
    fix = "set service: vms, or take a machine with RDMA such as a3-ultragpu-8g"
    return [Problem("max_nodes", what, str(spec.max_nodes), f"1 for {row.name} with service: vertex", fix)]


def key_problems(key: EncryptionKey | None, service: str) -> list[Problem]:
    """Return a problem if the service cannot encrypt the pool's disks with this key."""
    wanted = "compute" if service == "vms" else "aiplatform"
    if key is None or wanted in key.services:
        return []
    allowed, fix = f"a key that {wanted} can use", f"create it with uses=({wanted!r},)"
    return [Problem("key", "cannot encrypt the pool's disks", key.logical_name, allowed, fix)]


def _reservation_problems(capacity: Any, zone: Any, zones: Sequence[str]) -> list[Problem]:
    reserved = capacity.get("reservation") if isinstance(capacity, Mapping) else None
    if not isinstance(reserved, str) or not reserved:
        return []
    match = _RESERVATION.fullmatch(reserved)
    if match is None:
        allowed, fix = "projects/P/zones/Z/reservations/NAME", "`gcloud compute reservations list` shows names and zones"
        return [Problem("capacity.reservation", "not the name of a reservation", show(reserved), allowed, fix)]
    if isinstance(zone, str) and match[1] != zone:
        return [
            Problem(
                "zone",
                "the reservation is in another zone",
                show(zone),
                match[1],
                "set the reservation's zone, or name a reservation in the pool's zone",
            )
        ]
    regions = sorted({region_of(known) for known in zones})
    if zone is None and regions and region_of(match[1]) not in regions:
        allowed = f"a reservation in {', '.join(regions)}, the region of the network"
        return [Problem("capacity.reservation", "the reservation is in another region", show(reserved), allowed)]
    return []
