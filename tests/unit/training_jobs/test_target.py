"""JobTarget v1: accepted targets, and the errors for all others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpuyard.training_jobs.errors import NotFoundError, UsageError
from gpuyard.training_jobs.target import parse_target, parse_targets, pick_target
from tests.helpers.local_pool import target_document

DOCUMENT = target_document(Path("/yard"))


def test_a_target_survives_json() -> None:
    target = parse_target(DOCUMENT)
    assert target.model_dump(mode="json") == DOCUMENT
    assert target.slots == 2


def test_targets_of_a_newer_gpuyard_are_refused_with_the_fix() -> None:
    with pytest.raises(UsageError, match=r"newer gpuyard[\s\S]*got 2, allowed: <= 1; upgrade gpuyard"):
        parse_targets(json.dumps({"a": DOCUMENT | {"version": 2, "novelty": 1}}), "targets.json")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"kind": "kubernetes"}, "got 'kubernetes', allowed: local"),
        ({"kind": ["local"]}, r"got \['local'\], allowed: local"),
        ({"stack": "local"}, "stack"),
        ({"max_nodes": 0}, "max_nodes"),
        ({"secret": "x"}, "unknown key"),
        ({"price": {}}, "price.usd_per_node_hour: required key is missing"),
    ],
)
def test_malformed_targets_name_the_key(change: dict[str, object], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        parse_target(DOCUMENT | change)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}'])
def test_a_text_that_is_not_a_set_of_targets_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_targets(text, "targets.json")


def test_the_pool_is_chosen_by_name_or_is_the_only_one() -> None:
    one = parse_targets({"a": DOCUMENT}, "x")
    two = parse_targets({"a": DOCUMENT, "b": DOCUMENT}, "x")
    assert pick_target(one, None, "x") is one["a"]
    assert pick_target(two, "b", "x") is two["b"]
    with pytest.raises(UsageError, match="--pool"):
        pick_target(two, None, "x")
    with pytest.raises(UsageError, match="did you mean 'pool-a'"):
        pick_target({"pool-a": one["a"]}, "poola", "x")
    with pytest.raises(NotFoundError, match="vms"):
        pick_target({}, None, "x")
