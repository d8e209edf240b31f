"""The spec of a pool: machine, zone, node limits and capacity. Validators read the tables of services and machines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from .. import catalogue
from ..catalogue.services import Mode, Service, alternatives, clouds_of, service, services_of
from .capacity import Capacity, Reservation
from .fields import LOCAL, Accelerator, Spec, cloud_of, invalid

__all__ = ["GpuPoolSpec"]

_LOCAL_MACHINES = ("auto", "cpu")
_DISK_GIB = 200
_REPLACEMENTS = 3
_LOCAL_NODES = 240  # addresses of a /24, without reserved ones


class GpuPoolSpec(Spec):
    """A pool: equal machines in one zone or region that run a job together."""

    service: Literal["local", "batch", "sagemaker", "vertex", "azureml", "vms"] = Field(
        description="service that runs jobs on the pool: local (this machine), batch or sagemaker (AWS), vertex (GCP), azureml (Azure) "
        "or vms (machines only, for your own launcher)"
    )
    machine: str | None = Field(
        None,
        validate_default=True,
        description="the cloud's name for the machine, such as p5.48xlarge; default: the machine with `accelerator`. On `local`: auto "
        "(default: each node has an equal share of this machine's GPUs, or 2 CPU slots if there are none) or cpu (2 CPU slots, no GPUs)",
    )
    accelerator: Accelerator | None = Field(
        None,
        validate_default=True,
        description="GPU model and number of GPUs per node, such as H100:8, instead of `machine`; default: none",
    )
    zone: str | None = Field(
        None,
        validate_default=True,
        description="zone of the machines; required for batch and vms, optional for sagemaker and vertex, else refused; default: any zone",
    )
    min_nodes: int = Field(0, ge=0, le=1000, description="nodes that keep running, and cost money, while no job runs; default 0")
    max_nodes: int = Field(ge=1, le=1000, description="largest number of nodes, 1 to 1000; on `local` the fixed number of nodes, 1 to 240")
    capacity: Capacity = Field(
        "on_demand",
        validate_default=True,
        description="purchase mode of the machines: on_demand (default), spot, {mode: reservation, reservation: id}, "
        "{mode: capacity_block, reservation: id, ends: time} (AWS) or {mode: flex_start, max_hours: 24} (GCP)",
    )
    image: str | None = Field(
        None,
        description="machine image in the cloud's form, such as ami-...; default: the stack's pin, otherwise the vendor's newest image",
    )
    disk_gib: int | None = Field(None, ge=50, le=16384, description=f"root disk in GiB, 50 to 16384; default {_DISK_GIB}")
    fabric_floor: float | None = Field(
        None,
        gt=0,
        le=1,
        description="lowest accepted bandwidth, as a fraction of the network's line rate; below it the preflight ends the job with "
        "exit code 6; default: 0.7 times the bandwidth published for the machine; without a published one a slow network is a warning",
    )
    price_usd_per_hour: float | None = Field(
        None,
        ge=0,
        description="your price of a node in USD per hour; default: the catalogue's list price; unknown if there is no list price",
    )
    keep_alive_minutes: int = Field(
        0,
        ge=0,
        le=360,
        description="sagemaker: minutes to keep a finished job's machines warm, and paid, for the next job; default 0",
    )
    network_isolation: bool = Field(
        False,
        description="sagemaker: true blocks all network traffic of a job, also to S3 and secrets; only its nodes reach each other; "
        "default false",
    )

    encrypt_between_nodes: bool | None = Field(
        None,
        description="sagemaker: true encrypts the traffic between a job's nodes with IPsec, which can slow training; default: false on "
        "machines with EFA, because IPsec cannot encrypt EFA traffic, otherwise true",
    )
    web_access: bool = Field(
        False,
        description="vertex: true gives each node of a job a web address with a shell in its container, for people who may see the job; "
        "default false",
    )
    max_replacements_per_hour: int | None = Field(
        None,
        ge=1,
        le=100,
        description="number of broken machines that the service may replace within an hour; the next broken machine raises an alarm and "
        f"stops the pool: it starts no more machines; default {_REPLACEMENTS}",
    )

    @property
    def mode(self) -> Mode:
        """Name of the purchase mode, such as spot."""
        return self.capacity if isinstance(self.capacity, str) else self.capacity.mode

    @property
    def root_disk_gib(self) -> int:
        """Size of a machine's root disk in GiB."""
        return self.disk_gib or _DISK_GIB

    @property
    def replacement_limit(self) -> int:
        """Number of broken machines that the service may replace within an hour."""
        return self.max_replacements_per_hour or _REPLACEMENTS

    def floor(self, row: catalogue.Machine) -> float | None:
        """Return the required fraction of the line rate, the pool's own or the machine's; None: unknown, no floor."""
        return self.fabric_floor if self.fabric_floor is not None else row.default_floor

    def row(self, cloud: str) -> catalogue.Machine:
        """Return the catalogue's entry for `machine` or `accelerator`. Do not call it for `local`, which has no catalogue."""
        named = self.machine is not None
        return catalogue.machine(str(self.machine), (cloud,)) if named else _candidates(str(self.accelerator), self.service, (cloud,))[0]

    @field_validator("service")
    @classmethod
    def _check_service(cls, service: str, info: ValidationInfo) -> str:
        cloud = cloud_of(info)
        allowed = services_of(cloud) if cloud else []
        if allowed and service not in allowed:
            raise invalid(service, f"{', '.join(allowed)} for cloud: {cloud}")
        return service

    @field_validator("machine")
    @classmethod
    def _check_machine(cls, machine: str | None, info: ValidationInfo) -> str | None:
        if _service(info) is None:
            return machine
        if info.data["service"] == LOCAL:
            if machine is not None and machine not in _LOCAL_MACHINES:
                raise invalid(machine, f"{' or '.join(_LOCAL_MACHINES)} for service: local")
            return machine or "auto"
        if machine is not None:
            _refuse_unknown(machine, info.data["service"], _clouds(info))
        return machine

    @field_validator("accelerator")
    @classmethod
    def _check_accelerator(cls, accelerator: str | None, info: ValidationInfo) -> str | None:
        if _service(info) is None or "machine" not in info.data:
            return accelerator
        if accelerator is not None and info.data["machine"] is not None:
            raise invalid(accelerator, "only one of machine and accelerator", "remove machine or accelerator")
        if accelerator is not None:
            _refuse_ambiguous(accelerator, info.data["service"], _clouds(info))
        elif info.data["machine"] is None:
            raise invalid(accelerator, "one of machine (p5.48xlarge) and accelerator (H100:8)", "set one of them")
        return accelerator

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, zone: str | None, info: ValidationInfo) -> str | None:
        row = _service(info)
        if row and zone is None and row.zone == "required":
            raise invalid(zone, f"one zone for service: {info.data['service']}", "set zone")
        if row and zone is not None and row.zone == "refused":
            raise invalid(zone, f"no zone for service: {info.data['service']}", "remove zone")
        return zone

    @field_validator("min_nodes")
    @classmethod
    def _check_min_nodes(cls, min_nodes: int, info: ValidationInfo) -> int:
        row = _service(info)
        if min_nodes and row and not row.keeps_nodes:
            service = info.data["service"]
            raise invalid(min_nodes, f"0 for service: {service}, which starts machines for each job", "remove min_nodes")
        return min_nodes

    @field_validator("max_nodes")
    @classmethod
    def _check_max_nodes(cls, max_nodes: int, info: ValidationInfo) -> int:
        if info.data.get("service") == "local" and max_nodes > _LOCAL_NODES:
            raise invalid(max_nodes, f"1 to {_LOCAL_NODES} for service: local")
        if max_nodes < info.data.get("min_nodes", 0):
            raise invalid(max_nodes, f"min_nodes ({info.data['min_nodes']}) or more")
        return max_nodes

    @field_validator("capacity")
    @classmethod
    def _check_capacity(cls, capacity: Capacity, info: ValidationInfo) -> Capacity:
        row, name = _service(info), info.data.get("service")
        mode = capacity if isinstance(capacity, str) else capacity.mode
        if row is None:
            return capacity
        if isinstance(capacity, Reservation) and capacity.placement_group and cloud_of(info) not in (None, "aws"):
            raise invalid(capacity.placement_group, "none on this cloud: only AWS has it", "remove placement_group")
        if mode not in row.modes:
            raise invalid(mode, f"{', '.join(row.modes)} for service: {name}")
        machine = _machine_row(info)
        if machine is not None and mode not in machine.modes:
            sold = [each for each in row.modes if each in machine.modes]
            raise invalid(mode, f"{', '.join(sold)} for {machine.name}, its only purchase modes on this cloud")
        if info.data.get("max_nodes", 1) > 1 and mode not in row.multi_node_modes:
            others = " or ".join(f"service: {other}" for other in alternatives(str(name), mode, cloud_of(info)))
            fix = f"for {mode} with several nodes use {others}, or set max_nodes: 1"
            raise invalid(mode, f"{', '.join(row.multi_node_modes)} for several nodes with service: {name}", fix)
        return capacity

    @field_validator("keep_alive_minutes")
    @classmethod
    def _check_keep_alive(cls, minutes: int, info: ValidationInfo) -> int:
        row, capacity = _service(info), info.data.get("capacity", "on_demand")
        if minutes and row and capacity not in row.warm_modes:
            mode = f" with capacity: {capacity}" if row.warm_modes else ""
            allowed = f"0 for service: {info.data['service']}{mode}, which keeps no machines warm"
            raise invalid(minutes, allowed, "remove keep_alive_minutes")
        return minutes

    @field_validator("network_isolation")
    @classmethod
    def _check_network_isolation(cls, isolated: bool, info: ValidationInfo) -> bool:
        if isolated and (row := _service(info)) and not row.isolates:
            raise invalid(
                isolated, f"false for service: {info.data['service']}, which cannot block a job's network", "remove network_isolation"
            )
        return isolated

    @field_validator("web_access")
    @classmethod
    def _check_web_access(cls, access: bool, info: ValidationInfo) -> bool:
        if access and (row := _service(info)) and not row.opens_shells:
            name = info.data["service"]
            raise invalid(access, f"false for service: {name}, which has no shell in the browser", "remove web_access")
        return access

    @field_validator("encrypt_between_nodes")
    @classmethod
    def _check_encryption(cls, encrypt: bool | None, info: ValidationInfo) -> bool | None:
        if encrypt is not None and (row := _service(info)) and not row.encrypts:
            raise invalid(encrypt, f"none for service: {info.data['service']}, which has no such setting", "remove encrypt_between_nodes")
        return encrypt

    @field_validator("max_replacements_per_hour")
    @classmethod
    def _check_replacements(cls, limit: int | None, info: ValidationInfo) -> int | None:
        if limit is not None and (row := _service(info)) and not row.stops:
            name = info.data["service"]
            raise invalid(limit, f"none for service: {name}, which gpuyard cannot stop", "remove max_replacements_per_hour")
        return limit


def _service(info: ValidationInfo) -> Service | None:
    """Return the features of the service. None if `service` is wrong: another validator reports it."""
    return service(info.data.get("service", ""), cloud_of(info))


def _machine_row(info: ValidationInfo) -> catalogue.Machine | None:
    """Return the catalogue's entry for the machine. None on `local`, or if the machine is wrong: another validator reports it."""
    machine, accelerator, clouds = info.data.get("machine"), info.data.get("accelerator"), _clouds(info)
    if info.data["service"] == LOCAL or (machine is None and accelerator is None):
        return None
    return catalogue.machine(machine, clouds) if machine else _candidates(str(accelerator), info.data["service"], clouds)[0]


def _clouds(info: ValidationInfo) -> tuple[str, ...]:
    """Return the cloud whose rules apply. If the cloud is not known, return every cloud with the service."""
    return clouds_of(info.data["service"], cloud_of(info))


def _refuse_unknown(machine: str, name: str, clouds: tuple[str, ...]) -> None:
    try:
        row = catalogue.machine(machine, clouds)
    except catalogue.UnknownMachineError as error:
        raise invalid(machine, "a machine of the catalogue", str(error)) from None
    if name not in row.services:
        fix = f"set service: {' or '.join(row.services)}" if row.services else "choose another machine"
        raise invalid(machine, f"a machine that {name} can run", fix)


def _refuse_ambiguous(accelerator: str, name: str, clouds: tuple[str, ...]) -> None:
    found = _candidates(accelerator, name, clouds)
    if len(found) != 1:
        names = ", ".join(row.name for row in found)
        rows = [row for cloud in clouds for row in catalogue.table(cloud).machines.values() if name in row.services]
        known = ", ".join(sorted({f"{row.accelerator}:{row.gpus}" for row in rows}))
        if found:
            raise invalid(accelerator, "an accelerator of exactly one machine", f"set machine to one of {names}")
        raise invalid(accelerator, f"one of {known}")


def _candidates(accelerator: str, name: str, clouds: tuple[str, ...]) -> list[catalogue.Machine]:
    model, _, gpus = accelerator.rpartition(":")
    rows = [row for cloud in clouds for row in catalogue.with_accelerator(cloud, model, int(gpus))]
    return [row for row in rows if name in row.services]
