"""AWS's rules that GpuPoolSpec cannot check: identifiers, the network's zones and egress, images, the key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from ...plain_data import PlainMapping
from ...problems import Problem, show
from ..expiry import date_problems
from ..spec.capacity import CapacityBlock, Reservation
from ..spec.pool import GpuPoolSpec
from .images import image_parameter
from .key import EncryptionKey

__all__ = ["key_problems", "pool_problems"]

_AMI = re.compile(r"ami-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_RESERVATION = re.compile(r"cr-(?:[0-9a-f]{8}|[0-9a-f]{17})")


def pool_problems(raw: PlainMapping, network: str, zones: Sequence[str], egress: str | None, expires: str | None) -> list[Problem]:
    """Return the problems that GpuPoolSpec cannot find: AWS's identifiers, the network's zones and egress, images, the tag `expires`."""
    zone, image, capacity = raw.get("zone"), raw.get("image"), raw.get("capacity")
    problems = []
    if isinstance(zone, str) and zone not in zones:
        known = ", ".join(zones)
        fix = f"add {zone} to the zones of network {network}"
        problems.append(Problem("zone", f"network {network} has no subnet in this zone", show(zone), known, fix))
    if egress == "none" and raw.get("service") in ("batch", "vms"):
        what = f"nodes in network {network} cannot reach AWS services, because its egress is none"
        problems.append(Problem("service", what, show(raw["service"]), "sagemaker", "set the network's egress to nat or endpoints"))
    if image is not None and raw.get("service") == "sagemaker":
        problems.append(Problem("image", "SageMaker chooses the machine image", show(image), fix="remove image"))
    elif isinstance(image, str) and not _AMI.fullmatch(image):
        problems.append(
            Problem(
                "image",
                "not the id of an AMI",
                show(image),
                "ami- and 8 or 17 hex digits",
                "remove image and run `gpuyard pin`, which finds AWS's newest image",
            )
        )
    if isinstance(capacity, Reservation | CapacityBlock):
        capacity = capacity.model_dump()
    reserved = capacity.get("reservation") if isinstance(capacity, Mapping) else None
    if isinstance(reserved, str) and reserved and not _RESERVATION.fullmatch(reserved):
        what, fix = "not the id of a capacity reservation", "`aws ec2 describe-capacity-reservations` lists the ids"
        problems.append(Problem("capacity.reservation", what, show(reserved), "cr- and 8 or 17 hex digits", fix))
    return [*problems, *_image_problems(raw), *date_problems(expires)]


def key_problems(key: EncryptionKey | None) -> list[Problem]:
    """Return a problem if the key cannot encrypt log groups."""
    if key is None or key.for_logs:
        return []
    return [Problem("key", "cannot encrypt log groups", key.logical_name, "a key with for_logs=True", "create the key with for_logs=True")]


def _image_problems(raw: PlainMapping) -> list[Problem]:
    """Return a problem if AWS has no image for the machine and `image` is not set. GpuPoolSpec reports an invalid spec."""
    try:
        spec = GpuPoolSpec.model_validate(raw, context={"cloud": "aws"})
    except ValidationError:
        return []
    row = spec.row("aws")
    if spec.service == "sagemaker" or spec.image or image_parameter(spec.service, row.architecture):
        return []
    what = f"AWS has no image for {spec.service} on {row.architecture} machines"
    return [Problem("image", what, "nothing", "the id of your own AMI", "set image")]
