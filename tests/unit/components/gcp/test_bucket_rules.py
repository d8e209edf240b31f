"""Lifecycle rules of buckets: which versions of objects they delete and when. Names of existing buckets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.gcp.bucket_rules import data_lifecycle, existing_problems, log_lifecycle
from gpuyard.problems import show

# Conditions that each action allows: cloud.google.com/storage/docs/lifecycle#conditions
CONDITIONS = {
    "Delete": {"age", "days_since_noncurrent_time", "with_state", "matches_prefixes"},
    "AbortIncompleteMultipartUpload": {"age", "matches_prefixes", "matches_suffixes"},
}
ALL = [data_lifecycle(versions=True), data_lifecycle(versions=False), log_lifecycle()]


def removable(rules: list[dict[str, Any]], key: str, current: bool, days: int) -> bool:
    """Return whether the rules delete a version of an object that has been current, or noncurrent, for so many days."""
    for rule in rules:
        found = rule["condition"]
        states = {"LIVE": [True], "ARCHIVED": [False]}.get(found.get("with_state", "ANY"), [True, False])
        prefixes = found.get("matches_prefixes", [""])
        if rule["action"]["type"] != "Delete" or current not in states or not key.startswith(tuple(prefixes)):
            continue
        if days >= found.get("age", 0) and (current or days >= found.get("days_since_noncurrent_time", 0)):
            return "days_since_noncurrent_time" not in found or not current
    return False


keys = st.sampled_from(
    [
        "gpuyard/runs/llm-3f9a1c0b77d2/checkpoints/400/commit-2.json",
        "gpuyard/runs/llm-3f9a1c0b77d2/checkpoints/400/state-2-0-0.safetensors",
        "gpuyard/submissions/llm-3f9a1c0b77d2/run.json",
        "gpuyard/targets.json",
        "tokens/part-0.bin",
    ]
)


@given(keys, st.integers(0, 10_000), st.booleans())
def test_current_objects_are_never_deleted(key: str, days: int, versions: bool) -> None:
    assert not removable(data_lifecycle(versions=versions), key, current=True, days=days)
    rules: list[Any] = data_lifecycle(versions=versions)
    for rule in rules:
        if rule["action"]["type"] == "Delete":  # never by age alone, and never a live version
            assert rule["condition"]["with_state"] == "ARCHIVED"
            assert "age" not in rule["condition"]


@given(keys, st.integers(0, 10_000))
def test_noncurrent_versions_are_deleted_after_their_days(key: str, days: int) -> None:
    limit = 7 if key.startswith("gpuyard/runs/") else 30
    assert removable(data_lifecycle(versions=True), key, current=False, days=days) == (days >= limit)


def test_access_logs_are_deleted_after_a_year() -> None:
    assert not removable(log_lifecycle(), "runs_usage_2026_11_22", current=True, days=364)
    assert removable(log_lifecycle(), "runs_usage_2026_11_22", current=True, days=365)


@pytest.mark.parametrize("rules", ALL)
def test_every_action_has_conditions_that_google_allows(rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        assert rule["condition"]
        assert set(rule["condition"]) <= CONDITIONS[rule["action"]["type"]]
    assert [rule["condition"]["age"] for rule in rules if rule["action"]["type"].startswith("Abort")] == [7]


@pytest.mark.parametrize("name", ["acme-ml-datasets", "a.b.c", "123", "acme_ml", "x" * 63])
def test_a_legal_name_passes(name: str) -> None:
    assert existing_problems(name) == []


@pytest.mark.parametrize("name", ["ab", "x" * 64, "Acme", "-acme", "acme-", "goog-x", "gs://acme", "acme/data", "", None, 7])
def test_an_illegal_name_is_reported(name: Any) -> None:
    text = str(*existing_problems(name))
    assert text.startswith(f"existing: not the name of a bucket, got {show(name)}, allowed: 3 to 63 characters of")
    assert ("without gs:// and path" in text) == ("/" in str(name))
