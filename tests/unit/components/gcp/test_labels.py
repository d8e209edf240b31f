"""Labels made from tags: always legal, equal to the labels of jobs. Tags that are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.gcp.labels import STACK_LABEL as YARDS
from gpuyard.components.gcp.labels import label_value, labels, tag_problems
from gpuyard.training_jobs.backends.labels import gcp_label_value

VALUE = re.compile(r"[a-z0-9_-]{0,63}")
KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@given(st.dictionaries(st.from_regex(KEY, fullmatch=True), st.text(max_size=80), max_size=4), st.text(max_size=80), st.text(max_size=80))
def test_labels_are_legal_for_any_text(tags: dict[str, str], stack: str, name: str) -> None:
    found = labels(tags, stack, name)
    assert all(KEY.fullmatch(key) and VALUE.fullmatch(value) for key, value in found.items())
    assert {YARDS, "name"} <= set(found)


def test_legal_values_are_not_changed() -> None:
    assert [label_value(text) for text in ("2027-03-31", "nlp_team", "a" * 63)] == ["2027-03-31", "nlp_team", "a" * 63]


@given(st.text(alphabet="abZ/.@_- 1", max_size=90))
def test_resources_and_jobs_of_a_stack_get_the_same_label(text: str) -> None:
    """The budget selects both by this label."""
    assert label_value(text) == gcp_label_value(text)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"owner": "ml@acme.io", "cost-center": "7"}, []),
        ({"Team": "nlp"}, ["tags: not a valid label key, got 'Team', allowed: a lower-case letter"]),
        ({"7team": "nlp"}, ["tags: not a valid label key, got '7team'"]),
        ({"k" * 64: "x"}, ["at most 63 characters"]),
        ({YARDS: "x"}, ["allowed: any key but gpuyard_stack and name"]),
        ({"name": "x"}, ["tags: reserved key, got 'name'"]),
        ({"a": 1}, ["tags.a: not a string, got 1, allowed: a string; quote the value"]),
        ({f"k{number}": "x" for number in range(63)}, ["tags: too many tags, got 63, allowed: at most 62"]),
    ],
)
def test_illegal_tags_are_reported(tags: dict[str, str], expected: list[str]) -> None:
    found = tag_problems(tags)
    assert len(found) == len(expected), found
    assert all(text in str(line) for line, text in zip(found, expected, strict=True)), found
