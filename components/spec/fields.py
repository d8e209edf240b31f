"""Types of single values in specs: names, networks, dates, references. Each has a validator whose error lists the allowed values."""

from __future__ import annotations

import datetime
import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from ...plain_data import PlainDict, PlainMapping
from ...problems import Problem, show
from ..naming import NAME, NAME_LIMIT

__all__ = [
    "INTERNET",
    "LOCAL",
    "MAIL",
    "Accelerator",
    "Cidr",
    "Date",
    "ImageDigest",
    "Instant",
    "Name",
    "PublicAddress",
    "SecretReference",
    "Spec",
    "as_mapping",
    "cloud_of",
    "date_or_never",
    "in_cloud",
    "invalid",
]

LOCAL = "local"
MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
"""Form of a mail address."""
INTERNET = "internet"
"""Value of `open_to` that stands for every public address."""
_ACCELERATOR = re.compile(r"[A-Za-z][A-Za-z0-9-]*:[1-9][0-9]?")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_SECRET_FORMS = {
    "local": ("file:/", "file:/absolute/path"),
    "aws": ("arn:", "the ARN of a Secrets Manager secret"),
    "gcp": ("projects/", "projects/PROJECT/secrets/NAME/versions/VERSION of Secret Manager"),
    "azure": ("https://", "https://VAULT.vault.azure.net/secrets/NAME of Key Vault"),
}
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_PRIVATE = tuple(ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))


def invalid(value: object, allowed: str, fix: str | None = None, *, what: str = "wrong value") -> ValueError:
    """Return the error that a validator raises; `problems_from` adds the key."""
    return ValueError(Problem("", what, show(value), allowed, fix))


def _name(value: str) -> str:
    if not NAME.fullmatch(value) or value.endswith("-"):
        allowed = f"a name of a-z, 0-9 and -, beginning with a letter, not ending with -, at most {NAME_LIMIT} characters"
        raise invalid(value, allowed)
    return value


def _cidr(value: str, info: ValidationInfo) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise invalid(value, "an IPv4 network such as 10.40.0.0/16, with host bits zero") from None
    cloud = cloud_of(info)
    if cloud == LOCAL and (not network.subnet_of(_LOOPBACK) or network.prefixlen > 24):
        raise invalid(value, "a loopback network of 256 addresses or more, such as 127.77.0.0/24")
    if cloud not in (None, LOCAL) and not any(network.subnet_of(block) for block in _PRIVATE):
        raise invalid(value, "a private network, such as 10.40.0.0/16")
    return value


def date_or_never(value: str) -> str:
    """Return the value if it is an ISO date or `never`. Raises ValueError with a Problem."""
    try:
        if value != "never" and datetime.date.fromisoformat(value).isoformat() != value:
            raise ValueError
    except ValueError:
        raise invalid(value, 'a quoted date such as "2027-03-31", or never') from None
    return value


def _instant(value: str) -> str:
    try:
        if not value.endswith("Z") or datetime.datetime.fromisoformat(value).tzinfo is None:
            raise ValueError
    except ValueError:
        raise invalid(value, 'a quoted time in UTC such as "2026-12-19T11:30:00Z"') from None
    return value


def _secret_reference(value: str, info: ValidationInfo) -> str:
    cloud = cloud_of(info)
    forms = [form for name, form in _SECRET_FORMS.items() if cloud in (None, name)]
    if not any(value.startswith(start) for start, _ in forms):
        allowed = f"a reference to the secret, never the secret's value: {' or '.join(form for _, form in forms)}"
        raise invalid(value, allowed)
    return value


def _by_digest(value: str) -> str:
    if not _DIGEST.search(value):
        allowed = "an image by digest, name@sha256:<64 hex digits>, because a tag can change"
        raise invalid(value, allowed, "`gpuyard pin` writes the digest")
    return value


def _accelerator(value: str) -> str:
    if not _ACCELERATOR.fullmatch(value):
        raise invalid(value, "a GPU model and the number of GPUs per node, such as H100:8")
    return value


def _public_address(value: str) -> str:
    if value == INTERNET:
        return value
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        network = _LOOPBACK
    if network.is_private or ("/" in value and not 8 <= network.prefixlen <= 30):
        raise invalid(value, f"a public IPv4 address, a range of /8 to /30 such as 203.0.112.0/24, or {INTERNET}")
    return value


Name = Annotated[str, AfterValidator(_name)]
SecretReference = Annotated[str, AfterValidator(_secret_reference)]
Date = Annotated[str, AfterValidator(date_or_never)]
Instant = Annotated[str, AfterValidator(_instant)]
Cidr = Annotated[str, AfterValidator(_cidr)]
PublicAddress = Annotated[str, AfterValidator(_public_address)]
Accelerator = Annotated[str, AfterValidator(_accelerator)]
ImageDigest = Annotated[str, AfterValidator(_by_digest)]


def in_cloud(cloud: str | None) -> PlainDict:
    """Return the validation context for one cloud: `model_validate(data, context=in_cloud("aws"))`."""
    return {"cloud": cloud}


def cloud_of(info: ValidationInfo) -> str | None:
    """Return the cloud whose rules apply to the values; None: not known."""
    return info.context.get("cloud") if info.context else None


class Spec(BaseModel):
    """Base of every spec: frozen, strict (no "2" for 2), without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def as_mapping(spec: Spec | PlainMapping | None) -> PlainDict:
    """Return the fields that a user set, from a model or a mapping. A mapping's values are not validated."""
    return spec.model_dump(exclude_unset=True) if isinstance(spec, Spec) else dict(spec or {})
