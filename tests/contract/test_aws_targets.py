"""The targets that components/aws builds are valid in training_jobs: every target of every pool."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpuyard.components.catalogue import table
from gpuyard.training_jobs.target import BatchTarget, SageMakerTarget, parse_targets
from tests.helpers.aws_sample_yard import BATCH, TRAINING, declare
from tests.unit.conftest import record

__all__ = ["record"]  # a fixture of the unit tests, used here too


def test_the_targets_of_a_yard_are_valid_and_complete(record: Any) -> None:
    found = record(declare).exports["job_targets"]
    parsed = parse_targets(json.dumps(found), "targets.json")
    assert list(parsed) == ["l4", "h100"]  # vms pools have no target
    assert {pool: target.model_dump(mode="json") for pool, target in parsed.items()} == found  # no field is left to a default
    assert isinstance(parsed["l4"], BatchTarget)
    assert isinstance(parsed["h100"], SageMakerTarget)


@pytest.mark.parametrize("machine", sorted(table("aws").machines))
@pytest.mark.parametrize("spec", [BATCH, TRAINING], ids=["batch", "sagemaker"])
def test_every_machine_of_the_catalogue_makes_a_valid_target(record: Any, machine: str, spec: dict[str, Any]) -> None:
    if spec["service"] not in table("aws").machines[machine].services:
        return
    recorded = record(lambda: declare(pools={"one": {**spec, "machine": machine}}))
    [target] = parse_targets(recorded.exports["job_targets"], "job_targets").values()
    assert target.machine == machine
