"""Curves of reported metrics: bounded, and right after restarts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.training_jobs.launch.curves import MOST_METRICS, MOST_POINTS, Curves


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(-10, 10)), max_size=300))
def test_a_curve_is_bounded_and_ends_with_the_newest_value(reports: list[tuple[int, float]]) -> None:
    curves = Curves()
    for step, value in reports:
        curves.add(step, {"loss": value})
    points = curves.as_document().get("loss", [])
    assert len(points) <= MOST_POINTS
    assert [step for step, _ in points] == sorted({step for step, _ in points})
    if reports:
        assert points[-1][1] == reports[-1][1]
        assert points[-1][0] <= reports[-1][0]
    again = Curves()
    again.restore(json.loads(json.dumps(curves.as_document())))
    assert again.as_document() == curves.as_document()


def test_a_restarted_job_replaces_the_steps_that_it_repeats() -> None:
    curves = Curves()
    for step, value in ((1, 5.0), (2, 4.0), (3, 3.0), (2, 4.5)):
        curves.add(step, {"loss": value})
    assert curves.as_document() == {"loss": [[1, 5.0], [2, 4.5]]}


def test_what_is_no_number_has_no_point() -> None:
    curves = Curves()
    for value in (None, "x", True, float("nan"), float("inf"), 10**400, [1]):
        curves.add(1, {"loss": value})
        curves.add(value, {"loss": 1.0})
    assert curves.as_document() == {}
    curves.add(1, {f"metric-{number}": 1.0 for number in range(100)})
    assert len(curves.as_document()) == MOST_METRICS


@pytest.mark.parametrize("document", [None, 5, [], {"loss": 5}, {"loss": [5, [1], [1, 2, 3], ["a", 1], [1, None]]}])
def test_a_damaged_document_of_the_previous_attempt_is_ignored(document: object) -> None:
    curves = Curves()
    curves.restore(document)
    assert curves.as_document() == {}
