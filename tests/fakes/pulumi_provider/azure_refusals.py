"""Requests that Azure refuses although the SDK accepts them: one row for each rule, with source and date.

A rule reads the inputs of one resource. `find` returns the inputs of another resource by its id, or None if it is not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Inputs = Mapping[str, Any]
Find = Callable[[str], Inputs | None]
SCALE_SET = "azure-native:compute:VirtualMachineScaleSet"
CLUSTER = "azure-native:machinelearningservices:Compute"


class Rule(NamedTuple):
    """One rule of a service."""

    token: str
    """Type token of the resource."""
    refuses: Callable[[Inputs, Find], bool]
    message: str
    """The service's message, or our own text if the service's message is not public."""
    source: str
    date: str
    """Day on which the source was read."""


def _no_capacity(inputs: Inputs, _: Find) -> bool:
    return not isinstance(dict(inputs.get("sku") or {}).get("capacity"), int | float)


def _reserved_size_without_reservations(inputs: Inputs, _: Find) -> bool:
    size = str(dict(inputs.get("sku") or {}).get("name"))
    return bool(_profile(inputs).get("capacityReservation")) and (size.startswith("Standard_ND") or size.endswith("H100_v5"))


def _repairs_without_health(inputs: Inputs, _: Find) -> bool:
    extensions = dict(_profile(inputs).get("extensionProfile") or {}).get("extensions") or []
    probe = dict(_profile(inputs).get("networkProfile") or {}).get("healthProbe")
    return _repairs(inputs) and not probe and not any(str(each.get("type")).startswith("ApplicationHealth") for each in extensions)


def _grace_period_out_of_range(inputs: Inputs, _: Find) -> bool:
    given = str(dict(inputs.get("automaticRepairsPolicy") or {}).get("gracePeriod", "PT10M"))
    minutes = re.fullmatch(r"PT(\d+)M", given)
    return _repairs(inputs) and not (minutes and 10 <= int(minutes[1]) <= 90)


def _repairs(inputs: Inputs) -> bool:
    return dict(inputs.get("automaticRepairsPolicy") or {}).get("enabled") is True


def _health_settings_out_of_range(inputs: Inputs, _: Find) -> bool:
    extensions = dict(_profile(inputs).get("extensionProfile") or {}).get("extensions") or []
    for settings in (dict(each["settings"]) for each in extensions if str(each.get("type")).startswith("ApplicationHealth")):
        interval, probes, grace = (settings.get(key, 5) for key in ("intervalInSeconds", "numberOfProbes", "gracePeriod"))
        if not (5 <= interval <= 60 and 1 <= probes <= 24 and grace <= 14400) or ("requestPath" in settings) != (
            settings["protocol"] != "tcp"
        ):
            return True
    return False


def _cluster_without_nodes(inputs: Inputs, _: Find) -> bool:
    cluster = dict(dict(inputs.get("properties") or {}).get("properties") or {})
    most = dict(cluster.get("scaleSettings") or {}).get("maxNodeCount")
    return isinstance(most, int | float) and most < 1


_PAGE = "learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets"
RULES = (
    Rule(
        SCALE_SET,
        _repairs_without_health,
        "automatic repairs need the Application Health extension or a health probe of a load balancer",
        f"{_PAGE}-automatic-instance-repairs, page of 2026-05-19, requirements",
        "2026-12-01",
    ),
    Rule(
        SCALE_SET,
        _grace_period_out_of_range,
        "automaticRepairsPolicy.gracePeriod must be between PT10M and PT90M",
        f"{_PAGE}-automatic-instance-repairs, page of 2026-05-19, grace period",
        "2026-12-01",
    ),
    Rule(
        SCALE_SET,
        _health_settings_out_of_range,
        "settings of the Application Health extension are out of range",
        f"{_PAGE}-health-extension, page of 2026-05-19, settings of Rich Health States",
        "2026-12-01",
    ),
    Rule(
        CLUSTER,
        _cluster_without_nodes,
        "scaleSettings.maxNodeCount must be at least 1 (Azure ML documents no cluster with 0, so no request relies on it)",
        "learn.microsoft.com/rest/api/azureml/compute/create-or-update (ScaleSettings)",
        "2026-12-01",
    ),
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
