"""Documents that nodes wrote: any content gives a valid status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.stacks.cli.view import line, summary
from gpuyard.training_jobs.backends.base import ServiceStatus
from gpuyard.training_jobs.lifecycle.handle import make_submission
from gpuyard.training_jobs.lifecycle.journal import RunRecord
from gpuyard.training_jobs.lifecycle.node_documents import Claim, NodeResult, ProgressDocument, read_fitting
from gpuyard.training_jobs.lifecycle.status_builder import build_status
from gpuyard.training_jobs.run import Code
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.status import RunStatus
from gpuyard.training_jobs.target import parse_target
from tests.helpers.local_pool import job, target_document

TARGET = parse_target(target_document(Path("/yard")))
_SUBMISSION = make_submission(job(), TARGET, Code("c0de", "file:///c"), (), attempt=1, fresh=True, now=1000.0)
RECORD = RunRecord(run_id="job-1", name="job", stack="p/s", pool="local", request_key=None, created_at=1000.0, submissions=(_SUBMISSION,))
_KEYS = st.sampled_from(
    [
        *ProgressDocument.model_fields,
        *NodeResult.model_fields,
        *Claim.model_fields,
        "checks",
        "all_reduce",
        "busbw_gbs",
        "first_step",
        "loss",
        "other",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["warmup", "2026-11-30T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=6),
    max_leaves=12,
)


class Documents:
    """The same document under every name."""

    url = "file:///bucket"

    def __init__(self, document: dict[str, object]) -> None:
        self._document = document

    def claims(self, run_id: str) -> list[int]:
        return [1, 2]

    def document(self, run_id: str, path: str) -> dict[str, object]:
        return self._document


def status_of(document: dict[str, object], state: State = State.RUNNING, reason: Reason | None = None) -> RunStatus:
    return build_status(Documents(document), RECORD, TARGET, ServiceStatus(state, reason, started_at=1001.0), 2000.0)


@given(st.dictionaries(_KEYS, _JSON, max_size=8))
def test_any_document_gives_a_printable_status(document: dict[str, object]) -> None:
    for state, reason in ((State.RUNNING, None), (State.FAILED, Reason.USER_ERROR)):
        status = status_of(document, state, reason)
        assert json.loads(status.model_dump_json())["run_id"] == "job-1"
        assert line(status, 5.0)
        assert summary(status)


def test_a_metric_of_any_name_and_type_is_shown_as_reported() -> None:
    document: dict[str, object] = {
        "step": 7, "steps": 100, "first_step_at": "2026-11-30T00:00:00+00:00", "metrics": {"first_step": "warmup", "loss": "low"},
    }  # fmt: skip
    status = status_of(document)
    assert (status.metrics.step, status.metrics.steps, status.metrics.loss) == (7, 100, None)
    assert status.metrics.other == {"first_step": "warmup", "loss": "low"}
    assert "step 7/100" in line(status, 5.0)


def test_a_value_that_does_not_fit_its_field_counts_as_missing() -> None:
    found = read_fitting(NodeResult, {"exit_code": "x", "ended_at": float("inf"), "tail": ["a"], "more": 1})
    assert found == NodeResult(tail=["a"])
    assert read_fitting(NodeResult, [1]) == NodeResult()


def test_the_time_left_of_a_resumed_run_follows_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 20.0)
    document: dict[str, object] = {"step": 413, "steps": 1_500, "first_step": 403, "first_step_at": "1970-01-01T00:00:10Z"}
    assert "step 413/1,500  18:07 left" in line(status_of(document), 5.0)  # a second per step; not 10 s / 413 steps
