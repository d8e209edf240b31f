"""The specs: every field is described, specs are frozen, and wrong values are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gpuyard.components.spec import BucketSpec, BudgetSpec, GpuPoolSpec, LimitsSpec, NetworkSpec, PinsSpec, Spec, YardSpec, in_cloud


@pytest.mark.parametrize("spec", [NetworkSpec, BucketSpec, BudgetSpec, GpuPoolSpec, LimitsSpec, PinsSpec, YardSpec])
def test_every_field_is_described_frozen_and_closed(spec: type[Spec]) -> None:
    for name, field in spec.model_fields.items():
        assert field.description, name
        assert field.is_required() or "default" in field.description, name
    assert spec.model_config["frozen"]
    assert spec.model_config["extra"] == "forbid"


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (NetworkSpec, {"cidr": "127.77.0.0/25"}),
        (NetworkSpec, {"egress_ports": [22]}),
        (NetworkSpec, {"cidr": "127.77.0.1/24"}),
        (NetworkSpec, {"cidr": "10.0.0.0/24"}),
        (GpuPoolSpec, {"max_nodes": "2", "service": "local"}),
        (GpuPoolSpec, {"max_nodes": True, "service": "local"}),
        (GpuPoolSpec, {"max_nodes": 2, "service": "local", "capacity": "spot"}),
        (GpuPoolSpec, {"max_nodes": 2, "service": "local", "zone": "a"}),
        (LimitsSpec, {"gpus": 0}),
        (YardSpec, {"cloud": "local", "pools": {}}),
        (YardSpec, {"cloud": "local", "expires": "2027-02-30", "pools": {"p": {"max_nodes": 1, "service": "local"}}}),
        (YardSpec, {"cloud": "local", "pools": {"P": {"max_nodes": 1, "service": "local"}}}),
    ],
)
def test_wrong_specs_are_refused(spec: type[Spec], wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        spec.model_validate(wrong, context=in_cloud("local"))
