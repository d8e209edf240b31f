"""The capacity of a pool: how its cloud provides the machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

from .fields import Instant, Spec, invalid

__all__ = ["Capacity", "CapacityBlock", "FlexStart", "Reservation"]


class Reservation(Spec):
    """An existing reservation. The cloud bills it even while it is not in use."""

    mode: Literal["reservation"]
    reservation: str = Field(
        min_length=1, description="the cloud's id of the reservation, such as cr-0123456789abcdef0; create the reservation yourself"
    )
    placement_group: str | None = Field(None, min_length=1, description="aws: name of the reservation's placement group; default: none")


class CapacityBlock(Spec):
    """Machines bought for a fixed period and paid in advance."""

    mode: Literal["capacity_block"]
    reservation: str = Field(
        min_length=1, description="id of the block's reservation, such as cr-0123456789abcdef0; buy the block yourself"
    )
    ends: Instant = Field(description='end of the block, a quoted time in UTC such as "2026-12-19T11:30:00Z"')


class FlexStart(Spec):
    """A request that waits until all machines are free; they then start at once and run for a limited time."""

    mode: Literal["flex_start"]
    max_hours: int = Field(ge=1, le=168, description="hours after which the cloud stops the machines, 1 to 168 (seven days)")


_MODES: dict[str, type[Reservation | CapacityBlock | FlexStart]] = {
    "reservation": Reservation,
    "capacity_block": CapacityBlock,
    "flex_start": FlexStart,
}


def _capacity(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Validate only the model that `mode` names, so that a wrong value gives one problem, not one for each model."""
    if isinstance(value, Mapping):
        if value.get("mode") not in _MODES:
            raise invalid(value, f"a mapping with mode: {' or '.join(_MODES)}")
        return _MODES[value["mode"]].model_validate(dict(value))
    if isinstance(value, str) and value not in ("on_demand", "spot"):
        raise invalid(value, f"on_demand, spot or a mapping with mode: {' or '.join(_MODES)}")
    return handler(value)


Capacity = Annotated[Literal["on_demand", "spot"] | Reservation | CapacityBlock | FlexStart, WrapValidator(_capacity)]
