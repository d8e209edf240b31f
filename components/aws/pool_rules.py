"""Rules of AWS for a pool that its spec cannot know: identifiers, the network's zones and egress, images, the key. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ..expiry import date_problems
from ..spec.pool import CapacityBlock, GpuPoolSpec, Reservation
from .images import image_parameter
from .key import EncryptionKey

__all__ = ["key_problems", "pool_problems"]

_AMI = re.compile(r"ami-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_RESERVATION = re.compile(r"cr-(?:[0-9a-f]{8}|[0-9a-f]{17})")


def pool_problems(raw: Mapping[str, Any], network: str, zones: Sequence[str], egress: str | None, expires: str | None) -> list[str]:
    """What the neutral spec cannot see: ids in AWS's form, the network's zones, the date in the tags."""
    zone, image, capacity = raw.get("zone"), raw.get("image"), raw.get("capacity")
    problems = []
    if isinstance(zone, str) and zone not in zones:
        known = ", ".join(zones)
        problems.append(f"zone: got {zone!r}, allowed: a zone of network {network}: {known}; or give the network that zone")
    if egress == "none" and raw.get("service") in ("batch", "vms"):
        problems.append(
            f"service: got {raw['service']!r}, allowed: sagemaker in network {network} without a way out: its own machines "
            "could not join a cluster, ship a log or be reached; give the network egress: nat or endpoints"
        )
    if image is not None and raw.get("service") == "sagemaker":
        problems.append(f"image: got {image!r}, allowed: nothing where service is sagemaker: the machines are its own; remove image")
    elif isinstance(image, str) and not _AMI.fullmatch(image):
        problems.append(f"image: got {image!r}, allowed: the id of a machine image, ami- and 8 or 17 hex digits; `gpuyard pin` finds one")
    if isinstance(capacity, Reservation | CapacityBlock):
        capacity = capacity.model_dump()
    reserved = capacity.get("reservation") if isinstance(capacity, Mapping) else None
    if isinstance(reserved, str) and reserved and not _RESERVATION.fullmatch(reserved):
        problems.append(
            f"capacity.reservation: got {reserved!r}, allowed: the id of a capacity reservation, cr- and 8 or 17 hex digits; "
            "the console shows it under EC2, Capacity Reservations"
        )
    return [*problems, *_image_problems(raw), *date_problems(expires)]


def key_problems(key: EncryptionKey | None) -> list[str]:
    """Return why a pool's log group cannot be encrypted with this key."""
    if key is None or key.for_logs:
        return []
    return [f"key: got {key.logical_name}, allowed: a key that log groups can be under; make it with for_logs=True"]


def _image_problems(raw: Mapping[str, Any]) -> list[str]:
    """A machine that AWS has no image for needs one named. The model tells what is wrong with the machine's name itself."""
    try:
        spec = GpuPoolSpec.model_validate(raw, context={"cloud": "aws"})
    except ValidationError:
        return []
    row = spec.row("aws")
    if spec.service == "sagemaker" or spec.image or image_parameter(spec.service, row.architecture):
        return []
    return [f"image: got nothing, allowed: an image of your own: AWS has none for {row.architecture} machines and {spec.service}; give one"]
