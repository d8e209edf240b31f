"""Checkov over the committed yards of every cloud, with a canary for each type that it checks. Every finding has an explanation."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest

from tests.fakes.pulumi_provider import sdk_check, sdk_schema
from tests.helpers import committed_stacks
from tests.security import checkov, terraform
from tests.security.clouds import CLOUDS, Cloud
from tests.security.rows import Row, resources_of
from tests.security.rules import wrong

OWN = "own"  # the id of a skip for one of our own rules
YARDS = [(cloud, stack) for cloud in CLOUDS for stack in cloud.yards]
each_cloud = pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: cloud.name)
each_yard = pytest.mark.parametrize(("cloud", "stack"), YARDS, ids=[stack for _, stack in YARDS])


@pytest.fixture(scope="module")
def yards() -> dict[str, tuple[list[Row], committed_stacks.TracedOutputs]]:
    answers = {stack: committed_stacks.TracedOutputs() for _, stack in YARDS}
    return {stack: (resources_of(committed_stacks.recorded(stack, told)), told) for stack, told in answers.items()}


@pytest.fixture(scope="module")
def verdicts(yards: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, checkov.Verdict]:
    documents = {stack: cloud.document(yards[stack][0], yards[stack][1].origins) for cloud, stack in YARDS}
    for cloud in CLOUDS:
        documents[f"canaries-{cloud.name}"] = cloud.document([cloud.canary_row(canary) for canary in cloud.canaries], cloud.origins)
    return checkov.judge(tmp_path_factory.mktemp("checkov"), documents)


@each_cloud
def test_every_canary_is_found(cloud: Cloud, verdicts: dict[str, checkov.Verdict]) -> None:
    missed = {}
    for canary in cloud.canaries:
        row = cloud.canary_row(canary)
        on = Row(*canary.on, {}) if canary.on else row
        if lost := set(canary.rules) - verdicts[f"canaries-{cloud.name}"].failed[cloud.address(on)]:
            missed[f"{row.name} {canary.token}"] = lost
    assert missed == {}


@each_cloud
def test_every_type_has_a_canary_or_no_checkov_rule(cloud: Cloud) -> None:
    judged = {canary.token for canary in cloud.canaries}
    assert judged | cloud.blind == set(cloud.table)
    assert not judged & cloud.blind
    for token in cloud.table:
        assert sdk_check.resource(token).token == token
    for canary in cloud.canaries:
        assert not [line for line in sdk_check.problems(canary.token, canary.inputs) if not line.endswith(": required")]


def test_the_maps_have_every_list_of_the_sdks() -> None:
    wrong_lists = {token: sorted(_lists(token) ^ set(row["lists"])) for token, row in terraform.table().items()}
    assert {token: names for token, names in wrong_lists.items() if names} == {}


@each_yard
def test_every_finding_in_a_yard_is_explained(
    cloud: Cloud, stack: str, yards: dict[str, Any], verdicts: dict[str, checkov.Verdict]
) -> None:
    unexplained = {
        address: sorted(rule for rule in rules if not any(_covers(skip, rule, address) for skip in cloud.skips))
        for address, rules in verdicts[stack].failed.items()
    }
    assert {address: rules for address, rules in unexplained.items() if rules} == {}
    assert [line for line in wrong(cloud.rules, yards[stack][0]) if not any(_covers(skip, OWN, line) for skip in cloud.skips)] == []


@each_yard
def test_checkov_checked_every_type_it_can(cloud: Cloud, stack: str, yards: dict[str, Any], verdicts: dict[str, checkov.Verdict]) -> None:
    least = {canary.token: len(canary.rules) for canary in cloud.canaries if canary.on is None}
    verdict = verdicts[stack]
    for row in yards[stack][0]:
        if row.token in least:
            seen = len(verdict.failed[cloud.address(row)] | verdict.passed[cloud.address(row)])
            assert seen >= least[row.token], f"{cloud.address(row)}: {seen} checks"


@each_cloud
def test_every_skip_still_suppresses_something(cloud: Cloud, yards: dict[str, Any], verdicts: dict[str, checkov.Verdict]) -> None:
    failed = [(rule, address) for stack in cloud.yards for address, rules in verdicts[stack].failed.items() for rule in rules]
    failed += [(OWN, line) for stack in cloud.yards for line in wrong(cloud.rules, yards[stack][0])]
    for skip in cloud.skips:
        assert set(skip) == {"id", "resource", "reason", "decided_by"}
        assert any(_covers(skip, rule, address) for rule, address in failed), f"{skip['id']} {skip['resource']} suppresses nothing"


def _covers(skip: dict[str, str], rule: str, address: str) -> bool:
    return skip["id"] == rule and fnmatch.fnmatchcase(address, skip["resource"])


def _lists(token: str) -> set[str]:
    """Return the names of all list properties of a type, nested ones included."""
    found: set[str] = set()

    def walk(kind: sdk_schema.Kind, above: frozenset[sdk_schema.Kind]) -> None:
        if kind.word == "list":
            walk(kind.parts[0], above)
        elif kind.word == "object" and kind not in above:
            for name, each in sdk_schema.fields(kind.home, kind.name).items():
                if each.kind.word == "list":
                    found.add(name)
                walk(each.kind, above | {kind})

    for name, each in sdk_check.resource(token).inputs.items():
        if each.kind.word == "list":
            found.add(name)
        walk(each.kind, frozenset())
    return found
