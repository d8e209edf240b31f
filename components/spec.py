"""What a yard is, as frozen pydantic models: plain values only, the same words on every cloud, no Pulumi.

Fields state their unit and what their default does. A value is checked against the table of services and the catalogue here, so
that a wrong one is refused before anything is made; what only one cloud can judge is checked in its folder.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from . import catalogue
from .naming import NAME_LIMIT
from .services import SERVICES, Mode, Service, alternatives, services_of

_NAME = re.compile(rf"[a-z][a-z0-9-]{{0,{NAME_LIMIT - 1}}}")
_ACCELERATOR = re.compile(r"[A-Za-z][A-Za-z0-9-]*:[1-9][0-9]?")
_LOCAL = "local"
_SECRET_FORMS = {"local": ("file:/", "file:/absolute/path"), "aws": ("arn:", "the ARN of a Secrets Manager secret")}
_LOCAL_MACHINES = ("auto", "cpu")
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_PRIVATE = tuple(ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
_LOCAL_NODES = 240  # addresses of a /24, less those not handed out


def _name(value: str) -> str:
    if not _NAME.fullmatch(value) or value.endswith("-"):
        raise PydanticCustomError("name", f"a name of a-z, 0-9 and -, first a letter, last no hyphen, at most {NAME_LIMIT} characters")
    return value


def _cidr(value: str, info: ValidationInfo) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise PydanticCustomError("cidr", "an IPv4 network such as 10.40.0.0/16, its host bits zero") from None
    here = cloud_of(info)
    if here == _LOCAL and (not network.subnet_of(_LOOPBACK) or network.prefixlen > 24):
        raise PydanticCustomError("cidr", "a loopback network of 256 addresses or more, such as 127.77.0.0/24")
    if here not in (None, _LOCAL) and not any(network.subnet_of(block) for block in _PRIVATE):
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


def _accelerator(value: str) -> str:
    if not _ACCELERATOR.fullmatch(value):
        raise PydanticCustomError("accelerator", "a GPU model and how many of them a node has, such as H100:8")
    return value


Name = Annotated[str, AfterValidator(_name)]
SecretReference = Annotated[str, AfterValidator(_secret_reference)]
Date = Annotated[str, AfterValidator(_date_or_never)]


def in_cloud(cloud: str | None) -> dict[str, Any]:
    """The validation context that holds values to one cloud's words: `model_validate(data, context=in_cloud("aws"))`."""
    return {"cloud": cloud}


def cloud_of(info: ValidationInfo) -> str | None:
    """The cloud that values are held to; None = any."""
    return info.context.get("cloud") if info.context else None


class Spec(BaseModel):
    """Base of every spec: frozen, strict (no "2" for 2), unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NetworkSpec(Spec):
    """The addresses of the yard's nodes and their way out."""

    cidr: Annotated[str, AfterValidator(_cidr)] | None = Field(
        None, description="addresses, in CIDR notation; default 10.0.0.0/16, on `local` 127.77.0.0/24"
    )
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
        if zones and cloud_of(info) == _LOCAL:
            raise PydanticCustomError("zones", "nothing on `local`: this machine has no zones")
        if len(set(zones)) != len(zones):
            raise PydanticCustomError("zones", "each zone once")
        return zones


class BucketSpec(Spec):
    """A bucket the yard makes."""

    on_destroy: Literal["keep", "delete"] = Field(
        "keep", description="what `pulumi destroy` does with the bucket and its data; default keep"
    )


class Reservation(Spec):
    """Machines reserved beforehand, paid whether used or not."""

    mode: Literal["reservation"]
    reservation: str = Field(min_length=1, description="id of the reservation, such as cr-0123456789abcdef0; bought elsewhere, never here")


class CapacityBlock(Spec):
    """Machines bought for a span of time, paid in advance."""

    mode: Literal["capacity_block"]
    reservation: str = Field(min_length=1, description="id of the block's reservation, such as cr-...; bought elsewhere, never here")
    ends: Annotated[str, AfterValidator(_instant)] = Field(description='quoted end of the block in UTC, "2026-12-19T11:30:00Z"')


Capacity = Literal["on_demand", "spot"] | Annotated[Reservation | CapacityBlock, Field(discriminator="mode")]


class GpuPoolSpec(Spec):
    """A pool: equal machines that train together."""

    service: Literal["local", "batch", "sagemaker", "vms"] = Field(
        description="what runs jobs on the pool: local (this machine), batch or sagemaker (AWS), vms (machines alone, for another launcher)"
    )
    machine: str | None = Field(
        None,
        validate_default=True,
        description="the cloud's own name of the machine, such as p5.48xlarge; default: the one with `accelerator`. On `local`: auto "
        "(default; this machine's GPUs divided over the nodes, else 2 CPU slots for each node) or cpu (CPU slots even where there are GPUs)",
    )
    accelerator: Annotated[str, AfterValidator(_accelerator)] | None = Field(
        None, validate_default=True, description="instead of `machine`: GPU model and count per node, H100:8; default none"
    )
    zone: str | None = Field(
        None,
        validate_default=True,
        description="zone of the machines: needed for batch and vms; where the service holds the machines it picks the subnet (default: any)",
    )
    min_nodes: int = Field(0, ge=0, le=1000, description="nodes held (and paid) even when idle; default 0")
    max_nodes: int = Field(ge=1, le=1000, description="number of nodes at most, 1 to 1000; on `local` they are always there, at most 240")
    capacity: Capacity = Field(
        "on_demand",
        description="how machines are bought: on_demand (default), spot, {mode: reservation, reservation: id} or "
        "{mode: capacity_block, reservation: id, ends: time}",
    )
    image: str | None = Field(None, description="machine image, such as ami-...; default: the stack's pin, else the newest of the vendor")
    disk_gib: int | None = Field(None, ge=50, le=16384, description="root disk, in GiB; default 200")
    fabric_floor: float = Field(
        0.7, gt=0, le=1, description="fraction of the network's line rate below which a job is refused (exit 6); default 0.7"
    )
    price_usd_per_hour: float | None = Field(
        None, ge=0, description="what one node costs you in USD per hour; default: the list price of the catalogue, where it has one"
    )

    @property
    def mode(self) -> Mode:
        """How machines are bought, as one word."""
        return self.capacity if isinstance(self.capacity, str) else self.capacity.mode

    def row(self, cloud: str) -> catalogue.Machine:
        """The catalogue's row of the machine, whichever way it was named. Not on `local`."""
        if self.machine is not None:
            return catalogue.machine(self.machine, (cloud,))
        return _candidates(str(self.accelerator), self.service, (cloud,))[0]

    @field_validator("service")
    @classmethod
    def _service_is_of_the_cloud(cls, service: str, info: ValidationInfo) -> str:
        here = cloud_of(info)
        if here and here not in SERVICES[service].clouds:
            raise PydanticCustomError("service", f"{', '.join(services_of(here))} where cloud is {here}")
        return service

    @field_validator("machine")
    @classmethod
    def _machine_is_known(cls, machine: str | None, info: ValidationInfo) -> str | None:
        service = _service(info)
        if service is None:
            return machine
        if "local" in service.clouds:
            if machine is not None and machine not in _LOCAL_MACHINES:
                raise PydanticCustomError("machine", f"{' or '.join(_LOCAL_MACHINES)} where service is local")
            return machine or "auto"
        if machine is not None:
            _refuse_unknown(machine, info.data["service"], service)
        return machine

    @field_validator("accelerator")
    @classmethod
    def _one_of_machine_and_accelerator(cls, accelerator: str | None, info: ValidationInfo) -> str | None:
        service = _service(info)
        if service is None or "machine" not in info.data:
            return accelerator
        if accelerator is not None and info.data["machine"] is not None:
            raise PydanticCustomError("accelerator", "nothing where machine is given: it says which GPUs there are")
        if accelerator is not None:
            _refuse_ambiguous(accelerator, info.data["service"], service)
        elif info.data["machine"] is None:
            raise PydanticCustomError(
                "accelerator", "one of machine (p5.48xlarge) and accelerator (H100:8): say which machine the nodes are"
            )
        return accelerator

    @field_validator("zone")
    @classmethod
    def _zone_fits_the_service(cls, zone: str | None, info: ValidationInfo) -> str | None:
        service = _service(info)
        if service and zone is None and service.zone == "required":
            raise PydanticCustomError("zone", f"a zone where service is {info.data['service']}: a pool is one zone")
        if service and zone is not None and service.zone == "refused":
            raise PydanticCustomError("zone", f"nothing where service is {info.data['service']}")
        return zone

    @field_validator("max_nodes")
    @classmethod
    def _nodes_fit(cls, max_nodes: int, info: ValidationInfo) -> int:
        if info.data.get("service") == "local" and max_nodes > _LOCAL_NODES:
            raise PydanticCustomError("nodes", f"1 to {_LOCAL_NODES} where service is local")
        if max_nodes < info.data.get("min_nodes", 0):
            raise PydanticCustomError("nodes", f"min_nodes ({info.data['min_nodes']}) or more")
        return max_nodes

    @field_validator("capacity")
    @classmethod
    def _capacity_fits_the_service(cls, capacity: Capacity, info: ValidationInfo) -> Capacity:
        service, name = _service(info), info.data.get("service")
        mode = capacity if isinstance(capacity, str) else capacity.mode
        if service is None:
            return capacity
        if mode not in service.modes:
            raise PydanticCustomError("capacity", f"{', '.join(service.modes)} where service is {name}")
        if info.data.get("max_nodes", 1) > 1 and mode not in service.multi_node_modes:
            able = " or ".join(f"service: {other}" for other in alternatives(str(name), mode))
            raise PydanticCustomError(
                "capacity",
                f"{', '.join(service.multi_node_modes)} for more than one node where service is {name}; {mode} with several nodes: {able}; "
                "or max_nodes: 1",
            )
        return capacity


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
    job_image: str | None = Field(
        None, pattern=r"@sha256:[0-9a-f]{64}$", description="container image of jobs that name none, by digest; default: the vendor's"
    )


class YardSpec(Spec):
    """One yard: what one Pulumi stack declares."""

    cloud: Literal["local", "aws"] = Field(description="where the yard is: local (this machine) or aws")
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


def _service(info: ValidationInfo) -> Service | None:
    """The row of the service, unless that field itself was wrong: then its own problem is enough."""
    return SERVICES.get(info.data.get("service", ""))


def _refuse_unknown(machine: str, name: str, service: Service) -> None:
    try:
        row = catalogue.machine(machine, service.clouds)
    except catalogue.UnknownMachine as error:
        raise PydanticCustomError("machine", f"a machine of the catalogue; {error}") from None
    if name not in row.services:
        raise PydanticCustomError("machine", f"a machine that {name} can run; {machine} runs on {', '.join(row.services) or 'none'}")


def _refuse_ambiguous(accelerator: str, name: str, service: Service) -> None:
    found = _candidates(accelerator, name, service.clouds)
    if len(found) != 1:
        names = ", ".join(row.name for row in found)
        rows = [row for cloud in service.clouds for row in catalogue.table(cloud).machines.values() if name in row.services]
        known = ", ".join(sorted({f"{row.accelerator}:{row.gpus}" for row in rows}))
        allowed = f"one machine, and these have it: {names}; name one with machine" if found else f"one of {known}"
        raise PydanticCustomError("accelerator", allowed)


def _candidates(accelerator: str, service: str, clouds: tuple[str, ...]) -> list[catalogue.Machine]:
    model, _, gpus = accelerator.rpartition(":")
    rows = [row for cloud in clouds for row in catalogue.with_accelerator(cloud, model, int(gpus))]
    return [row for row in rows if service in row.services]
