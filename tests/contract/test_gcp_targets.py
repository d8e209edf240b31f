"""The targets that components/gcp builds are valid in the backend: a job of each committed target breaks no rule of Vertex AI."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import AcceleratorType

from gpuyard.training_jobs.backends.vertex import VertexBackend, _message
from gpuyard.training_jobs.run import Code, Run
from gpuyard.training_jobs.target import VertexTarget, parse_targets
from tests.fakes.gcp.vertex_rules import broken_rules
from tests.helpers.committed_stacks import YARDS, recorded
from tests.helpers.gcp_sample_pools import CAPACITIES, MACHINES, VERTEX
from tests.helpers.gcp_sample_yard import declare
from tests.helpers.local_pool import job
from tests.helpers.vertex_pool import IMAGE
from tests.unit.conftest import record

__all__ = ["record"]  # a fixture of the unit tests, used here too


@pytest.mark.parametrize("stack", YARDS["gcp"])
def test_a_job_of_every_pool_is_valid_for_vertex(stack: str) -> None:
    exported = recorded(stack).exports["job_targets"]
    found = parse_targets(json.dumps(exported), "targets.json")
    assert {pool: target.model_dump(mode="json") for pool, target in found.items()} == exported  # no field is left to a default
    assert found
    for target in found.values():
        assert isinstance(target, VertexTarget)
        body = _request(target)
        assert body["parent"] == f"projects/{target.project}/locations/{target.region}"
        assert broken_rules(_message(body["customJob"])) == []


def _request(target: VertexTarget) -> Any:
    """Return the request of a submit with 2 nodes."""
    spec = job("llm", nodes=min(2, target.max_nodes), image=IMAGE)
    run = Run("llm-3f9a1c0b77d2", 0, 1, spec, target, Code("d" * 64, f"{target.run_bucket}/gpuyard/code/x.tar.gz"), 3600, "timeout")
    (request,) = VertexBackend(target).request(run)
    return request.body


def test_a_pool_with_web_access_makes_jobs_with_web_access(record: Any) -> None:
    exported = record(lambda: declare(pools={"l4": {**VERTEX, "web_access": True}})).exports["job_targets"]
    target = parse_targets(json.dumps(exported), "job_targets")["l4"]
    assert isinstance(target, VertexTarget)
    assert _request(target)["customJob"]["jobSpec"]["enableWebAccess"] is True


@pytest.mark.parametrize("mode", CAPACITIES)
def test_every_machine_of_the_catalogue_makes_a_valid_vertex_target(record: Any, mode: str) -> None:
    able = sorted(name for name, row in MACHINES.items() if "vertex" in row.services and mode in (row.modes or CAPACITIES))
    one = {"a3-highgpu-8g", "a3-megagpu-8g"}  # several nodes need a program that a CustomJob cannot start
    specs = {name: {**VERTEX, "machine": name, "capacity": CAPACITIES[mode], "max_nodes": 1 if name in one else 2} for name in able}
    recording = record(lambda: declare(pools=specs))
    targets = parse_targets(json.dumps(recording.exports["job_targets"]), "job_targets")
    assert sorted(targets) == able
    for name, target in targets.items():
        assert isinstance(target, VertexTarget)
        assert (target.machine, target.strategy) == (name, {"spot": "spot", "flex_start": "flex_start"}.get(mode, "standard"))
        assert (target.reservation is not None) == (mode == "reservation")
        assert target.accelerator_type in AcceleratorType.__members__
        request = _request(target)
        assert broken_rules(_message(request["customJob"])) == []
