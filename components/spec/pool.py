"""What a pool is: which machine, where, how many, how they are bought; held to the table of services and the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator, field_validator
from pydantic_core import PydanticCustomError

from .. import catalogue
from ..catalogue.services import Mode, Service, alternatives, clouds_of, service, services_of
from .fields import LOCAL, Accelerator, Instant, Spec, cloud_of

_LOCAL_MACHINES = ("auto", "cpu")
_DISK_GIB = 200
_LOCAL_NODES = 240  # addresses of a /24, less those not handed out


class Reservation(Spec):
    """Machines reserved beforehand, paid whether used or not."""

    mode: Literal["reservation"]
    reservation: str = Field(
        min_length=1, description="the cloud's own id of the reservation, such as cr-0123456789abcdef0; bought elsewhere, never here"
    )


class CapacityBlock(Spec):
    """Machines bought for a span of time, paid in advance."""

    mode: Literal["capacity_block"]
    reservation: str = Field(min_length=1, description="id of the block's reservation, such as cr-...; bought elsewhere, never here")
    ends: Instant = Field(description='quoted end of the block in UTC, "2026-12-19T11:30:00Z"')


class FlexStart(Spec):
    """Machines that all come at once when there are enough, for a stated time at most; a queue, not a reservation."""

    mode: Literal["flex_start"]
    max_hours: int = Field(ge=1, le=168, description="hours after which the cloud takes the machines back, 1 to 168 (seven days)")


_BOUGHT: dict[str, type[Reservation | CapacityBlock | FlexStart]] = {
    "reservation": Reservation,
    "capacity_block": CapacityBlock,
    "flex_start": FlexStart,
}


def _capacity(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """One branch is tried, so that a mistake is one problem; the union's own way tells one for each branch."""
    if isinstance(value, Mapping):
        if value.get("mode") not in _BOUGHT:
            raise PydanticCustomError("capacity", f"a mapping with mode: {' or '.join(_BOUGHT)}")
        return _BOUGHT[value["mode"]].model_validate(dict(value))
    if isinstance(value, str) and value not in ("on_demand", "spot"):
        raise PydanticCustomError("capacity", f"on_demand, spot or a mapping with mode: {' or '.join(_BOUGHT)}")
    return handler(value)


Capacity = Annotated[Literal["on_demand", "spot"] | Reservation | CapacityBlock | FlexStart, WrapValidator(_capacity)]


class GpuPoolSpec(Spec):
    """A pool: equal machines that train together."""

    service: Literal["local", "batch", "sagemaker", "vertex", "azureml", "vms"] = Field(
        description="what runs jobs on the pool: local (this machine), batch or sagemaker (AWS), vertex (GCP), azureml (Azure), "
        "vms (machines alone, for another launcher)"
    )
    machine: str | None = Field(
        None,
        validate_default=True,
        description="the cloud's own name of the machine, such as p5.48xlarge; default: the one with `accelerator`. On `local`: auto "
        "(default; this machine's GPUs divided over the nodes, else 2 CPU slots for each node) or cpu (no GPUs even where there are some)",
    )
    accelerator: Accelerator | None = Field(
        None, validate_default=True, description="instead of `machine`: GPU model and count per node, H100:8; default none"
    )
    zone: str | None = Field(
        None,
        validate_default=True,
        description="zone of the machines: needed for batch and vms; where the service has the machines it picks the subnet; default any",
    )
    min_nodes: int = Field(0, ge=0, le=1000, description="nodes held (and paid) even when idle; default 0")
    max_nodes: int = Field(ge=1, le=1000, description="number of nodes at most, 1 to 1000; on `local` they are always there, at most 240")
    capacity: Capacity = Field(
        "on_demand",
        validate_default=True,
        description="how machines are bought: on_demand (default), spot, {mode: reservation, reservation: id}, "
        "{mode: capacity_block, reservation: id, ends: time} (AWS) or {mode: flex_start, max_hours: 24} (GCP)",
    )
    image: str | None = Field(
        None, description="machine image in the cloud's own words, such as ami-...; default: the stack's pin, else the newest of the vendor"
    )
    disk_gib: int | None = Field(None, ge=50, le=16384, description=f"root disk, in GiB; default {_DISK_GIB}")
    fabric_floor: float = Field(
        0.7, gt=0, le=1, description="fraction of the network's line rate below which a job is refused (exit 6); default 0.7"
    )
    price_usd_per_hour: float | None = Field(
        None, ge=0, description="what one node costs you in USD per hour; default: the list price of the catalogue, where it has one"
    )
    keep_alive_minutes: int = Field(
        0,
        ge=0,
        le=360,
        description="sagemaker: minutes for which a job's machines are held after its end, and paid, for the next; default 0",
    )
    network_isolation: bool = Field(
        False, description="sagemaker: true cuts jobs off from every network but each other, S3 and secrets included; default false"
    )

    @property
    def mode(self) -> Mode:
        """How machines are bought, as one word."""
        return self.capacity if isinstance(self.capacity, str) else self.capacity.mode

    @property
    def root_disk_gib(self) -> int:
        """The size of a machine's root disk."""
        return self.disk_gib or _DISK_GIB

    def row(self, cloud: str) -> catalogue.Machine:
        """The catalogue's row of the machine, whichever way it was named. Not on `local`."""
        named = self.machine is not None
        return catalogue.machine(str(self.machine), (cloud,)) if named else _candidates(str(self.accelerator), self.service, (cloud,))[0]

    @field_validator("service")
    @classmethod
    def _service_is_of_the_cloud(cls, service: str, info: ValidationInfo) -> str:
        here = cloud_of(info)
        allowed = services_of(here) if here else []
        if allowed and service not in allowed:
            raise PydanticCustomError("service", f"{', '.join(allowed)} where cloud is {here}")
        return service

    @field_validator("machine")
    @classmethod
    def _machine_is_known(cls, machine: str | None, info: ValidationInfo) -> str | None:
        if _service(info) is None:
            return machine
        if info.data["service"] == LOCAL:
            if machine is not None and machine not in _LOCAL_MACHINES:
                raise PydanticCustomError("machine", f"{' or '.join(_LOCAL_MACHINES)} where service is local")
            return machine or "auto"
        if machine is not None:
            _refuse_unknown(machine, info.data["service"], _clouds(info))
        return machine

    @field_validator("accelerator")
    @classmethod
    def _one_of_machine_and_accelerator(cls, accelerator: str | None, info: ValidationInfo) -> str | None:
        if _service(info) is None or "machine" not in info.data:
            return accelerator
        if accelerator is not None and info.data["machine"] is not None:
            raise PydanticCustomError("accelerator", "nothing where machine is given: it says which GPUs there are")
        if accelerator is not None:
            _refuse_ambiguous(accelerator, info.data["service"], _clouds(info))
        elif info.data["machine"] is None:
            raise PydanticCustomError(
                "accelerator", "one of machine (p5.48xlarge) and accelerator (H100:8): say which machine the nodes are"
            )
        return accelerator

    @field_validator("zone")
    @classmethod
    def _zone_fits_the_service(cls, zone: str | None, info: ValidationInfo) -> str | None:
        row = _service(info)
        if row and zone is None and row.zone == "required":
            raise PydanticCustomError("zone", f"a zone where service is {info.data['service']}: a pool is one zone")
        if row and zone is not None and row.zone == "refused":
            raise PydanticCustomError("zone", f"nothing where service is {info.data['service']}: remove the key")
        return zone

    @field_validator("min_nodes")
    @classmethod
    def _somebody_holds_the_nodes(cls, min_nodes: int, info: ValidationInfo) -> int:
        row = _service(info)
        if min_nodes and row and not row.holds_nodes:
            raise PydanticCustomError("nodes", f"0 where service is {info.data['service']}: it starts machines for a job and keeps none")
        return min_nodes

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
        row, name = _service(info), info.data.get("service")
        mode = capacity if isinstance(capacity, str) else capacity.mode
        if row is None:
            return capacity
        if mode not in row.modes:
            raise PydanticCustomError("capacity", f"{', '.join(row.modes)} where service is {name}")
        if (sold := _sold(info)) is not None and mode not in sold:
            raise PydanticCustomError("capacity", f"{', '.join(sold)} for {_row_given(info).name}: it is sold no other way")  # type: ignore[union-attr]
        if info.data.get("max_nodes", 1) > 1 and mode not in row.multi_node_modes:
            able = " or ".join(f"service: {other}" for other in alternatives(str(name), mode, cloud_of(info)))
            raise PydanticCustomError(
                "capacity",
                f"{', '.join(row.multi_node_modes)} for more than one node where service is {name}; {mode} with several nodes: {able}; "
                "or max_nodes: 1",
            )
        return capacity

    @field_validator("keep_alive_minutes")
    @classmethod
    def _machines_can_be_held(cls, minutes: int, info: ValidationInfo) -> int:
        row, capacity = _service(info), info.data.get("capacity", "on_demand")
        if minutes and row and capacity not in row.warm_modes:
            bought = f" and capacity is {capacity}" if row.warm_modes else ""
            raise PydanticCustomError("warm", f"0 where service is {info.data['service']}{bought}: a job's machines are not held there")
        return minutes

    @field_validator("network_isolation")
    @classmethod
    def _service_isolates(cls, isolated: bool, info: ValidationInfo) -> bool:
        if isolated and (row := _service(info)) and not row.isolates:
            raise PydanticCustomError("isolation", f"false where service is {info.data['service']}: it cannot cut a job off")
        return isolated


def _service(info: ValidationInfo) -> Service | None:
    """The row of the service, unless that field itself was wrong: then its own problem is enough."""
    return service(info.data.get("service", ""), cloud_of(info))


def _sold(info: ValidationInfo) -> tuple[Mode, ...] | None:
    """How the machine is sold, where not every way; None too where the machine itself is wrong."""
    row = _row_given(info)
    return None if row is None else row.modes


def _row_given(info: ValidationInfo) -> catalogue.Machine | None:
    machine, accelerator, clouds = info.data.get("machine"), info.data.get("accelerator"), _clouds(info)
    if info.data["service"] == LOCAL or (machine is None and accelerator is None):
        return None
    return catalogue.machine(machine, clouds) if machine else _candidates(str(accelerator), info.data["service"], clouds)[0]


def _clouds(info: ValidationInfo) -> tuple[str, ...]:
    """The cloud that values are held to; where it is not known, all that have the service."""
    return clouds_of(info.data["service"], cloud_of(info))


def _refuse_unknown(machine: str, name: str, clouds: tuple[str, ...]) -> None:
    try:
        row = catalogue.machine(machine, clouds)
    except catalogue.UnknownMachineError as error:
        raise PydanticCustomError("machine", f"a machine of the catalogue; {error}") from None
    if name not in row.services:
        raise PydanticCustomError("machine", f"a machine that {name} can run; {machine} runs on {', '.join(row.services) or 'none'}")


def _refuse_ambiguous(accelerator: str, name: str, clouds: tuple[str, ...]) -> None:
    found = _candidates(accelerator, name, clouds)
    if len(found) != 1:
        names = ", ".join(row.name for row in found)
        rows = [row for cloud in clouds for row in catalogue.table(cloud).machines.values() if name in row.services]
        known = ", ".join(sorted({f"{row.accelerator}:{row.gpus}" for row in rows}))
        allowed = f"one machine, and these have it: {names}; name one with machine" if found else f"one of {known}"
        raise PydanticCustomError("accelerator", allowed)


def _candidates(accelerator: str, name: str, clouds: tuple[str, ...]) -> list[catalogue.Machine]:
    model, _, gpus = accelerator.rpartition(":")
    rows = [row for cloud in clouds for row in catalogue.with_accelerator(cloud, model, int(gpus))]
    return [row for row in rows if name in row.services]
