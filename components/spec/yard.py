"""What a yard is, as frozen pydantic models: plain values only, the same words on every cloud, no Pulumi.

Fields state their unit and what their default does. A wrong value is refused before anything is made; what only one cloud can
judge is checked in its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ...problems import Problem
from .fields import ANYWHERE, LOCAL, Cidr, Date, Door, ImageDigest, Name, SecretReference, Spec, cloud_of, in_cloud
from .pool import CapacityBlock, FlexStart, GpuPoolSpec, Reservation

__all__ = [
    "BucketSpec",
    "BudgetSpec",
    "CapacityBlock",
    "FlexStart",
    "GpuPoolSpec",
    "LimitsSpec",
    "Name",
    "NetworkSpec",
    "PinsSpec",
    "Reservation",
    "SecretReference",
    "Spec",
    "YardSpec",
    "in_cloud",
]


class NetworkSpec(Spec):
    """The addresses of the yard's nodes and their way out."""

    cidr: Cidr | None = Field(None, description="addresses, in CIDR notation; default 10.0.0.0/16, on `local` 127.77.0.0/24")
    zones: list[str] = Field(
        default_factory=list, description="zones with a private subnet, at least one; default none, which fits `local` alone"
    )
    egress: Literal["nat", "endpoints", "none"] = Field(
        "nat",
        description="way out of the private subnets: nat (default; the internet), endpoints (the cloud's own services only) or none "
        "(object storage only)",
    )

    @property
    def known_zones(self) -> list[str]:
        """The zones a pool can be in."""
        return self.zones

    @field_validator("zones")
    @classmethod
    def _zones_fit_the_cloud(cls, zones: list[str], info: ValidationInfo) -> list[str]:
        if zones and cloud_of(info) == LOCAL:
            raise PydanticCustomError("zones", "nothing on `local`: this machine has no zones")
        if len(set(zones)) != len(zones):
            raise PydanticCustomError("zones", "each zone once")
        return zones


class BucketSpec(Spec):
    """A bucket the yard makes."""

    on_destroy: Literal["keep", "delete"] = Field(
        "keep", description="what `pulumi destroy` does with the bucket and its data; default keep"
    )
    open_to: list[Door] = Field(
        default_factory=list,
        description="azure: public addresses, or internet, from which who has rights may come besides the yard's network; default none",
    )

    @field_validator("open_to")
    @classmethod
    def _the_cloud_has_such_doors(cls, open_to: list[str], info: ValidationInfo) -> list[str]:
        if open_to and cloud_of(info) not in (None, "azure"):
            raise PydanticCustomError("door", "nothing but on azure: elsewhere rights alone say who may come")
        if ANYWHERE in open_to and len(open_to) > 1:
            raise PydanticCustomError("door", f"{ANYWHERE} alone, or addresses without it")
        return open_to


class LimitsSpec(Spec):
    """What one job of the yard may take at most."""

    gpus: int | None = Field(None, ge=1, description="GPUs of all nodes of one job together; default no limit")
    usd_per_job: float | None = Field(None, gt=0, description="USD one job may cost; default no limit")


class BudgetSpec(Spec):
    """What the yard may cost; an alert, not a brake."""

    usd_per_month: float = Field(gt=0, description="USD of a calendar month")
    alert_at_percent: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=lambda: [50, 80, 100], min_length=1, description="mail the owner at these percentages; default 50, 80 and 100"
    )


class PinsSpec(Spec):
    """What `gpuyard pin` resolved: reviewed like a lock file."""

    machine_images: Mapping[Name, str] = Field(default_factory=dict, description="pool -> machine image; default: the newest at each `up`")
    job_image: ImageDigest | None = Field(
        None, description="container image of jobs that name none, by digest; default: none, a job names its own"
    )


class YardSpec(Spec):
    """One yard: what one Pulumi stack declares."""

    cloud: Literal["local", "aws", "gcp", "azure"] = Field(description="where the yard is: local (this machine), aws, gcp or azure")
    owner: str | None = Field(
        None,
        min_length=1,
        validate_default=True,
        description="mail address of who answers for the yard; needed except on `local`; default nobody",
    )
    expires: Date | None = Field(
        None,
        validate_default=True,
        description='quoted date on which the pools go to zero, "2027-03-31", or never; needed except on `local`; default none',
    )
    budget: BudgetSpec | None = Field(None, description="USD per month and when to mail the owner; default no budget")
    network: NetworkSpec = Field(NetworkSpec(), validate_default=True, description="addresses, zones and the way out; default: see there")
    buckets: Mapping[Name, BucketSpec] = Field(default_factory=dict, description="buckets by logical name; default none")
    pools: Mapping[Name, GpuPoolSpec] = Field(min_length=1, description="pools by name, at least one")
    submitters: list[str] = Field(
        default_factory=list,
        description="who may submit without a person: subjects of CI tokens, repo:org/name:ref:refs/heads/main; default nobody",
    )
    secrets: Mapping[str, SecretReference] = Field(default_factory=dict, description="references to secrets by logical name; default none")
    limits: LimitsSpec = Field(LimitsSpec(), description="what one job may take at most; default no limits")
    pins: PinsSpec = Field(PinsSpec(), description="written by `gpuyard pin`; default: nothing is pinned")
    tags: Mapping[str, str] = Field(default_factory=dict, description="tags on everything made; default none")

    @property
    def all_tags(self) -> dict[str, Any]:
        """The user's own tags plus owner and expires, as every component takes them."""
        stated = {"owner": self.owner, "expires": self.expires}
        return {**self.tags, **{key: value for key, value in stated.items() if value is not None}}

    @field_validator("owner", "expires")
    @classmethod
    def _stated_where_money_is_spent(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("cloud", "local") != "local":
            raise PydanticCustomError("required", "a value: machines cost money here, so somebody answers for them and they end one day")
        return value

    @field_validator("budget", "pins")
    @classmethod
    def _is_for_clouds(cls, value: BudgetSpec | PinsSpec | None, info: ValidationInfo) -> BudgetSpec | PinsSpec | None:
        if info.data.get("cloud") == LOCAL:
            raise ValueError(Problem("", "not used on `local`", fix=f"remove {info.field_name}"))
        return value

    @field_validator("pools")
    @classmethod
    def _zones_are_the_networks(cls, pools: Mapping[str, GpuPoolSpec], info: ValidationInfo) -> Mapping[str, GpuPoolSpec]:
        network = info.data.get("network")
        zones = network.known_zones if network else []
        wrong = [(name, pool.zone) for name, pool in pools.items() if zones and pool.zone and pool.zone not in zones]
        if wrong:
            allowed = PydanticCustomError("zone", f"a zone of the network: {', '.join(zones)}")
            found = [InitErrorDetails(type=allowed, loc=(name, "zone"), input=zone) for name, zone in wrong]
            raise ValidationError.from_exception_data("pools", found)
        return pools
