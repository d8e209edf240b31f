"""Azure's rules that GpuPoolSpec cannot check: identifiers, the network's zones, images, InfiniBand, the SSH key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ...plain_data import PlainMapping
from ...problems import Problem, show
from ..expiry import date_problems
from ..spec.capacity import Reservation
from ..spec.pool import GpuPoolSpec
from ..spec.ssh import SSH_KEY
from .fabric import fabric_problems, has_trusted_launch
from .images import image_problems, image_urn, is_managed_image

__all__ = ["pool_problems", "ssh_key_problems"]

_RESERVATION = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/capacityReservationGroups/[^/]+", re.IGNORECASE
)


def pool_problems(
    raw: PlainMapping,
    network: str,
    zones: Sequence[str],
    expires: str | None,
    orchestration: str = "uniform",
) -> list[Problem]:
    """Return the pool's problems that GpuPoolSpec cannot find. `raw`: the spec as the user wrote it. `expires`: the tag's value."""
    zone, image, capacity, service = raw.get("zone"), raw.get("image"), raw.get("capacity"), raw.get("service")
    problems = []
    if isinstance(zone, str) and zone not in zones and service == "vms":
        known = ", ".join(zones)
        fix = f"add {zone} to the zones of network {network}"
        problems.append(Problem("zone", f"network {network} has no subnet in this zone", show(zone), known, fix))
    if service == "azureml":
        for key in ("image", "disk_gib"):
            if raw.get(key) is not None:
                problems.append(
                    Problem(key, f"Azure ML chooses the {key}", show(raw[key]), f"no {key} for service: azureml", f"remove {key}")
                )
    else:
        problems += image_problems(image)
    if isinstance(capacity, Reservation):
        capacity = capacity.model_dump()
    reserved = capacity.get("reservation") if isinstance(capacity, Mapping) else None
    if isinstance(reserved, str) and reserved and not _RESERVATION.fullmatch(reserved):
        what, allowed = "not the id of a capacity reservation group", "/subscriptions/.../capacityReservationGroups/NAME"
        fix = "`az capacity reservation group show --resource-group GROUP --name NAME --query id` prints it"
        problems.append(Problem("capacity.reservation", what, show(reserved), allowed, fix))
    return [*problems, *_machine_problems(raw, orchestration), *date_problems(expires)]


def _machine_problems(raw: PlainMapping, orchestration: str) -> list[Problem]:
    """Return the problems that depend on the machine. For an invalid spec return []: GpuPoolSpec reports it."""
    plain = {key: raw[key] for key in ("machine", "accelerator", "service", "zone", "max_nodes") if raw.get(key) is not None}
    try:
        spec = GpuPoolSpec.model_validate(plain, context={"cloud": "azure"})
    except ValidationError:
        return []
    row = spec.row("azure")
    problems = fabric_problems(row, spec.max_nodes, orchestration, raw)
    if spec.service == "vms" and not raw.get("image") and not image_urn("vms", row.architecture):
        what = f"Microsoft has no image for {row.architecture} machines"
        problems.append(Problem("image", what, "nothing", "the id of your own image", "set image"))
    if spec.service == "vms" and is_managed_image(raw.get("image")) and has_trusted_launch(row):
        what, allowed = "a managed image cannot start with Trusted Launch", "a version of a gallery's image, or a marketplace image"
        problems.append(
            Problem("image", what, show(raw["image"]), allowed, "copy the image into a gallery with security type TrustedLaunch")
        )
    return problems


def ssh_key_problems(key: Any) -> list[Problem]:
    """Return a problem unless the value is a public SSH key or None."""
    if key is None or (isinstance(key, str) and SSH_KEY.fullmatch(key)):
        return []
    allowed = "one line of a public key, ssh-ed25519 or ssh-rsa"
    return [Problem("ssh_public_key", "not a public key", repr(str(key)[:20]), allowed, "write the public key, never the private key")]
