"""Requests that Azure refuses although the SDK accepts them: one row for each rule, with source and date.

A rule reads the inputs of one resource. `find` returns the inputs of another resource by its id, or None if it is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Inputs = Mapping[str, Any]
Find = Callable[[str], Inputs | None]
SCALE_SET = "azure-native:compute:VirtualMachineScaleSet"


class Rule(NamedTuple):
    """One rule of a service."""

    token: str
    """Type token of the resource."""
    refuses: Callable[[Inputs, Find], bool]
    message: str
    """The service's message; where no public text has it, ours."""
    source: str
    date: str
    """Day on which the source was read."""


def _no_capacity(inputs: Inputs, _: Find) -> bool:
    return not isinstance(dict(inputs.get("sku") or {}).get("capacity"), int | float)


def _reserved_size_without_reservations(inputs: Inputs, _: Find) -> bool:
    size = str(dict(inputs.get("sku") or {}).get("name"))
    return bool(_profile(inputs).get("capacityReservation")) and (size.startswith("Standard_ND") or size.endswith("H100_v5"))


RULES = (
    Rule(
        SCALE_SET,
        _no_capacity,
        "InvalidParameter: Required parameter 'sku.capacity' is missing (null).",
        "github.com/Azure/vm-scale-sets/issues/70",
        "2026-12-01",
    ),
    Rule(
        SCALE_SET,
        _reserved_size_without_reservations,
        "the size does not support capacity reservations",
        "learn.microsoft.com/azure/virtual-machines/capacity-reservation-overview, page of 2026-02-17, table of unsupported series",
        "2026-12-01",
    ),
)
"""The rules that a request of the components meets."""


def refusals(token: str, inputs: Inputs, find: Find) -> list[str]:
    """Return the messages with which Azure refuses a resource."""
    return [rule.message for rule in RULES if rule.token == token and rule.refuses(inputs, find)]


def _profile(inputs: Inputs) -> Inputs:
    return dict(inputs.get("virtualMachineProfile") or {})
