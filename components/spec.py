"""What a yard is, as frozen pydantic models: plain values only, the same words on every cloud, no Pulumi.

Fields state their unit and what their default does. What only one cloud needs comes with that cloud.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from .naming import NAME_LIMIT

_NAME = re.compile(rf"[a-z][a-z0-9-]{{0,{NAME_LIMIT - 1}}}")
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value) or value.endswith("-"):
        raise PydanticCustomError("name", f"a name of a-z, 0-9 and -, first a letter, last no hyphen, at most {NAME_LIMIT} characters")
    return value


def _loopback(value: str) -> str:
    allowed = "a loopback network of 256 addresses or more, such as 127.77.0.0/24"
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise PydanticCustomError("cidr", allowed) from None
    if not network.subnet_of(_LOOPBACK) or network.prefixlen > 24:
        raise PydanticCustomError("cidr", allowed)
    return value


def _date_or_never(value: str) -> str:
    try:
        if value != "never" and datetime.date.fromisoformat(value).isoformat() != value:
            raise ValueError
    except ValueError:
        raise PydanticCustomError("date", 'a quoted date such as "2027-03-31", or never') from None
    return value


def _secret_reference(value: str) -> str:
    if not value.startswith("file:/"):
        raise PydanticCustomError("reference", "a reference to the secret, file:/absolute/path, never its value")
    return value


Name = Annotated[str, AfterValidator(_name)]
SecretReference = Annotated[str, AfterValidator(_secret_reference)]


class Spec(BaseModel):
    """Base of every spec: frozen, strict (no "2" for 2), unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NetworkSpec(Spec):
    """The addresses of the yard's nodes."""

    cidr: Annotated[str, AfterValidator(_loopback)] = Field(
        "127.77.0.0/24", description="addresses of the nodes, in CIDR notation; default 127.77.0.0/24"
    )


class BucketSpec(Spec):
    """A bucket the yard makes."""

    on_destroy: Literal["keep", "delete"] = Field(
        "keep", description="what `pulumi destroy` does with the bucket and its data; default keep"
    )


class GpuPoolSpec(Spec):
    """A pool: equal machines that train together."""

    machine: Literal["auto", "cpu"] = Field(
        "auto",
        description="auto (default): this machine's GPUs divided over the nodes, else 2 CPU slots for each node; "
        "cpu: CPU slots even where there are GPUs",
    )
    max_nodes: int = Field(ge=1, le=240, description="number of nodes; on `local` they are always there, 1 to 240")
    service: Literal["local"] = Field(description="what runs jobs on the pool: local")
    zone: str | None = Field(None, description="zone of the machines; default none; a local pool has none: remove the key there")
    capacity: Literal["on_demand"] = Field("on_demand", description="how machines are bought; default on_demand, the only word on `local`")

    @field_validator("zone")
    @classmethod
    def _zone_fits_the_service(cls, zone: str | None, info: ValidationInfo) -> str | None:
        if zone is not None and info.data.get("service") == "local":
            raise PydanticCustomError("zone", "nothing where service is local")
        return zone


class LimitsSpec(Spec):
    """What one job of the yard may take at most."""

    gpus: int | None = Field(None, ge=1, description="GPUs of all nodes of one job together; default no limit")
    usd_per_job: float | None = Field(None, gt=0, description="USD one job may cost; default no limit")


class YardSpec(Spec):
    """One yard: what one Pulumi stack declares."""

    cloud: Literal["local"] = Field(description="where the yard is: local (this machine)")
    owner: str | None = Field(None, min_length=1, description="who answers for the yard; default nobody, fine on `local`")
    expires: Annotated[str, AfterValidator(_date_or_never)] | None = Field(
        None, description='quoted date after which the yard should go, "2027-03-31", or never; default none, fine on `local`'
    )
    network: NetworkSpec = Field(NetworkSpec(), description="addresses; default 127.77.0.0/24")
    buckets: Mapping[Name, BucketSpec] = Field(default_factory=dict, description="buckets by logical name; default none")
    pools: Mapping[Name, GpuPoolSpec] = Field(min_length=1, description="pools by name, at least one")
    secrets: Mapping[str, SecretReference] = Field(
        default_factory=dict, description="references to secrets by logical name, file:/absolute/path; default none"
    )
    limits: LimitsSpec = Field(LimitsSpec(), description="what one job may take at most; default no limits")
    tags: Mapping[str, str] = Field(default_factory=dict, description="tags on everything made; default none")

    @property
    def all_tags(self) -> dict[str, Any]:
        """The user's own tags plus owner and expires, as every component takes them."""
        stated = {"owner": self.owner, "expires": self.expires}
        return {**self.tags, **{key: value for key, value in stated.items() if value is not None}}
