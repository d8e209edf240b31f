"""What components/gcp builds is what the backend takes: each target of the committed stacks makes a job that breaks no rule of Vertex."""

from __future__ import annotations

import json

import pytest

from tests.support.committed import YARDS, recorded
from tests.support.gcp.vertex_rules import broken_rules
from tests.support.gcp.vertex_yard import IMAGE
from tests.support.local_yard import job
from training_jobs.backends.vertex import Backend, _message
from training_jobs.run import Code, Run
from training_jobs.target import VertexTarget, parse_targets


@pytest.mark.parametrize("stack", YARDS["gcp"])
def test_a_job_of_every_pool_is_one_that_vertex_takes(stack: str) -> None:
    exported = recorded(stack).exports["job_targets"]
    found = parse_targets(json.dumps(exported), "targets.json")
    assert {pool: target.model_dump(mode="json") for pool, target in found.items()} == exported  # no field is left to a default
    assert found
    for target in found.values():
        assert isinstance(target, VertexTarget)
        spec = job("llm", nodes=min(2, target.max_nodes), image=IMAGE)
        run = Run("llm-3f9a1c0b77d2", 0, 1, spec, target, Code("d" * 64, f"{target.run_bucket}/gpuyard/code/x.tar.gz"), 3600, "timeout")
        (request,) = Backend(target).request(run)
        assert request.body["parent"] == f"projects/{target.project}/locations/{target.region}"
        assert broken_rules(_message(request.body["customJob"])) == []
