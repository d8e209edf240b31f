"""Automatic repairs and sizes of clusters that the fake of Azure refuses, as the service's documentation does."""

from __future__ import annotations

from typing import Any

import pytest

from gpuyard.components.azure.replacement_limit import health_extension
from tests.fakes.pulumi_provider import azure_refusals


def scale_set(settings: dict[str, Any] | None = None, **repairs: Any) -> dict[str, Any]:
    """Return inputs of a scale set with these repairs. `settings`: changes of the health extension's settings; None: no extension."""
    health = health_extension()
    extensions = [] if settings is None else [{**health, "settings": {**health["settings"], **settings}}]
    policy = {"enabled": True, "gracePeriod": "PT10M", **repairs}
    return {
        "sku": {"capacity": 0},
        "automaticRepairsPolicy": policy,
        "virtualMachineProfile": {"extensionProfile": {"extensions": extensions}},
    }


@pytest.mark.parametrize(
    ("inputs", "refused"),
    [
        (scale_set({}), []),
        (scale_set(), ["automatic repairs need"]),
        (scale_set(enabled=False), []),
        (scale_set({}, gracePeriod="PT5M"), ["automaticRepairsPolicy.gracePeriod"]),
        (scale_set({"numberOfProbes": 25}), ["settings of the Application Health"]),
        (scale_set({"gracePeriod": 14401}), ["settings of the Application Health"]),
    ],
)
def test_azure_refuses_these_repairs(inputs: dict[str, Any], refused: list[str]) -> None:
    found = azure_refusals.refusals(azure_refusals.SCALE_SET, inputs, lambda _: None)
    assert [message[: len(begin)] for message, begin in zip(found, refused, strict=True)] == refused


def test_azure_refuses_a_cluster_without_nodes() -> None:
    inputs = {"properties": {"properties": {"scaleSettings": {"minNodeCount": 0, "maxNodeCount": 0}}}}
    assert azure_refusals.refusals(azure_refusals.CLUSTER, inputs, lambda _: None)
