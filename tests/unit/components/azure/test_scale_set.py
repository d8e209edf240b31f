"""The number of machines that an update of a scale set sends: the present one, so that no update deletes machines in use."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from gpuyard.components.azure import GpuPool, Network
from tests.fakes.pulumi_provider import azure_refusals
from tests.helpers.azure_sample_yard import RESERVED, TAGS, VMS, token

SCALE_SET = token("compute:VirtualMachineScaleSet")
LOOK_UP = token("compute:getVirtualMachineScaleSet")


def program(**spec: Any) -> Any:
    return lambda: GpuPool("lab", {**VMS, **spec}, network=Network("net", {"zones": ["1"]}, tags=TAGS), tags=TAGS)


def answer(monkeypatch: pytest.MonkeyPatch, result: dict[str, Any], failure: str | None = None) -> None:
    """Make the look-up of the scale set return this result or fail."""
    monkeypatch.setattr("tests.unit.conftest.LIVE", {LOOK_UP: (result, [("", failure)] if failure else [])})


def capacity(recorded: Any) -> float:
    found: float = recorded.inputs(SCALE_SET, "lab-machines")["sku"]["capacity"]
    return found


def test_the_first_up_makes_min_nodes(record: Any) -> None:
    assert capacity(record(program(min_nodes=1))) == 1


def test_an_update_sends_the_present_number_of_machines(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, {"sku": {"name": "Standard_ND96isr_H100_v5", "capacity": 3}})
    assert capacity(record(program())) == 3
    assert capacity(record(program(min_nodes=4))) == 4


def test_an_expired_pool_is_scaled_to_zero(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, {"sku": {"capacity": 3}})
    expired = {**TAGS, "expires": "2020-01-01"}
    recorded = record(lambda: GpuPool("lab", VMS, network=Network("net", {"zones": ["1"]}, tags=expired), tags=expired))
    assert capacity(recorded) == 0


def test_a_failed_look_up_stops_the_up(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that could not be read is not taken for zero."""
    answer(monkeypatch, {}, "Status=403 Code=AuthorizationFailed")
    with pytest.raises(Exception, match="AuthorizationFailed"):
        record(program())


def test_a_preview_with_an_unknown_group_knows_no_capacity(record: Any) -> None:
    sent = record(program(), preview=True).inputs(SCALE_SET, "lab-machines")["sku"]["capacity"]
    assert isinstance(sent, pulumi.output.Unknown)


@pytest.mark.parametrize(
    ("inputs", "refused"),
    [
        ({"sku": {"name": "Standard_ND96isr_H100_v5", "capacity": 0}}, False),
        ({"sku": {"name": "Standard_ND96isr_H100_v5"}}, True),
        ({"sku": {"name": "Standard_NC96ads_A100_v4", "capacity": 0}, "virtualMachineProfile": {"capacityReservation": RESERVED}}, False),
        ({"sku": {"name": "Standard_NC40ads_H100_v5", "capacity": 0}, "virtualMachineProfile": {"capacityReservation": RESERVED}}, True),
    ],
)
def test_azure_refuses_these_scale_sets(inputs: dict[str, Any], refused: bool) -> None:
    assert bool(azure_refusals.refusals(SCALE_SET, inputs, lambda _: None)) == refused
