"""Single values that specs share: names, networks, dates, references, each with the words that say what is allowed."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo
from pydantic_core import PydanticCustomError

from ..naming import NAME, NAME_LIMIT

LOCAL = "local"
ANYWHERE = "internet"
"""In place of addresses: every one."""
_ACCELERATOR = re.compile(r"[A-Za-z][A-Za-z0-9-]*:[1-9][0-9]?")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_SECRET_FORMS = {
    "local": ("file:/", "file:/absolute/path"),
    "aws": ("arn:", "the ARN of a Secrets Manager secret"),
    "gcp": ("projects/", "projects/PROJECT/secrets/NAME/versions/VERSION of Secret Manager"),
    "azure": ("https://", "https://VAULT.vault.azure.net/secrets/NAME of a key vault"),
}
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_PRIVATE = tuple(ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))


def _name(value: str) -> str:
    if not NAME.fullmatch(value) or value.endswith("-"):
        raise PydanticCustomError("name", f"a name of a-z, 0-9 and -, first a letter, last no hyphen, at most {NAME_LIMIT} characters")
    return value


def _cidr(value: str, info: ValidationInfo) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise PydanticCustomError("cidr", "an IPv4 network such as 10.40.0.0/16, its host bits zero") from None
    here = cloud_of(info)
    if here == LOCAL and (not network.subnet_of(_LOOPBACK) or network.prefixlen > 24):
        raise PydanticCustomError("cidr", "a loopback network of 256 addresses or more, such as 127.77.0.0/24")
    if here not in (None, LOCAL) and not any(network.subnet_of(block) for block in _PRIVATE):
        raise PydanticCustomError("cidr", "a private network, such as 10.40.0.0/16")
    return value


def _date_or_never(value: str) -> str:
    try:
        if value != "never" and datetime.date.fromisoformat(value).isoformat() != value:
            raise ValueError
    except ValueError:
        raise PydanticCustomError("date", 'a quoted date such as "2027-03-31", or never') from None
    return value


def _instant(value: str) -> str:
    try:
        if not value.endswith("Z") or datetime.datetime.fromisoformat(value).tzinfo is None:
            raise ValueError
    except ValueError:
        raise PydanticCustomError("instant", 'a quoted time in UTC such as "2026-12-19T11:30:00Z"') from None
    return value


def _secret_reference(value: str, info: ValidationInfo) -> str:
    here = cloud_of(info)
    forms = [form for cloud, form in _SECRET_FORMS.items() if here in (None, cloud)]
    if not any(value.startswith(start) for start, _ in forms):
        raise PydanticCustomError("reference", f"a reference to the secret, never its value: {' or '.join(form for _, form in forms)}")
    return value


def _by_digest(value: str) -> str:
    if not _DIGEST.search(value):
        raise PydanticCustomError("image", "an image by digest, name@sha256:<64 hex digits>, as `gpuyard pin` writes it: a tag can change")
    return value


def _accelerator(value: str) -> str:
    if not _ACCELERATOR.fullmatch(value):
        raise PydanticCustomError("accelerator", "a GPU model and how many of them a node has, such as H100:8")
    return value


def _door(value: str) -> str:
    if value == ANYWHERE:
        return value
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        network = _LOOPBACK
    if network.is_private or ("/" in value and not 8 <= network.prefixlen <= 30):
        raise PydanticCustomError("door", f"a public IPv4 address, a range of /8 to /30 such as 203.0.112.0/24, or {ANYWHERE}")
    return value


Name = Annotated[str, AfterValidator(_name)]
SecretReference = Annotated[str, AfterValidator(_secret_reference)]
Date = Annotated[str, AfterValidator(_date_or_never)]
Instant = Annotated[str, AfterValidator(_instant)]
Cidr = Annotated[str, AfterValidator(_cidr)]
Door = Annotated[str, AfterValidator(_door)]
Accelerator = Annotated[str, AfterValidator(_accelerator)]
ImageDigest = Annotated[str, AfterValidator(_by_digest)]


def in_cloud(cloud: str | None) -> dict[str, Any]:
    """The validation context that holds values to one cloud's words: `model_validate(data, context=in_cloud("aws"))`."""
    return {"cloud": cloud}


def cloud_of(info: ValidationInfo) -> str | None:
    """The cloud that values are held to; None = any."""
    return info.context.get("cloud") if info.context else None


class Spec(BaseModel):
    """Base of every spec: frozen, strict (no "2" for 2), unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def as_given(spec: Spec | Mapping[str, Any] | None) -> dict[str, Any]:
    """What a user wrote, whichever form it came in: not checked, so nothing of it can be relied on."""
    return spec.model_dump(exclude_unset=True) if isinstance(spec, Spec) else dict(spec or {})
