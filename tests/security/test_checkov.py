"""Checkov over the committed AWS yards, with a canary for each type it can judge: nothing it finds is unexplained, and it does look."""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path
from typing import Any

import pytest

from components.planning.monitor import Recording
from tests.security import canaries, checkov, own_rules, translate
from tests.support import aws_stacks
from tests.support.standin import sdk

SKIPS = tomllib.loads(Path(__file__).with_name("skips.toml").read_text(encoding="utf-8")).get("skip", [])


@pytest.fixture(scope="module")
def yards() -> dict[str, tuple[Recording, aws_stacks.Referring]]:
    answers = {stack: aws_stacks.Referring() for stack in aws_stacks.YARDS}
    return {stack: (aws_stacks.recorded(stack, told), told) for stack, told in answers.items()}


@pytest.fixture(scope="module")
def verdicts(yards: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, checkov.Verdict]:
    plans = {stack: translate.plan(translate.rows(recording), told.origins) for stack, (recording, told) in yards.items()}
    plans["canaries"] = translate.plan([canaries.row(canary) for canary in canaries.CANARIES], canaries.ORIGINS)
    return checkov.judge(tmp_path_factory.mktemp("checkov"), plans)


def test_every_canary_is_found(verdicts: dict[str, checkov.Verdict]) -> None:
    missed = {}
    for canary in canaries.CANARIES:
        row = canaries.row(canary)
        failed = verdicts["canaries"].failed[translate.address(*(canary.on or (row.token, row.name)))]
        if lost := set(canary.rules) - failed:
            missed[canary.token] = lost
    assert missed == {}


def test_every_type_has_a_canary_or_is_known_to_be_unseen() -> None:
    judged = {canary.token for canary in canaries.CANARIES}
    assert judged | canaries.BLIND == set(translate.table())
    assert not judged & canaries.BLIND
    for canary in canaries.CANARIES:
        assert not [line for line in sdk.problems(canary.token, canary.inputs) if not line.endswith(": required")]


def test_the_map_has_every_list_of_the_sdk() -> None:
    wrong = {token: sorted(_lists(token) ^ set(row["lists"])) for token, row in translate.table().items()}
    assert {token: names for token, names in wrong.items() if names} == {}


@pytest.mark.parametrize("stack", aws_stacks.YARDS)
def test_nothing_in_a_yard_is_unexplained(stack: str, yards: dict[str, Any], verdicts: dict[str, checkov.Verdict]) -> None:
    verdict = verdicts[stack]
    unexplained = {
        address: sorted(rule for rule in rules if not any(_covers(skip, rule, address) for skip in SKIPS))
        for address, rules in verdict.failed.items()
    }
    assert {address: rules for address, rules in unexplained.items() if rules} == {}
    assert own_rules.wrong(translate.rows(yards[stack][0])) == []


@pytest.mark.parametrize("stack", aws_stacks.YARDS)
def test_checkov_looked_at_what_it_can_judge(stack: str, yards: dict[str, Any], verdicts: dict[str, checkov.Verdict]) -> None:
    least = {canary.token: len(canary.rules) for canary in canaries.CANARIES if canary.on is None}
    verdict = verdicts[stack]
    for row in translate.rows(yards[stack][0]):
        address = translate.address(row.token, row.name)
        seen = len(verdict.failed[address] | verdict.passed[address])
        assert seen >= least.get(row.token, 0), f"{address}: {seen} checks"


def test_every_skip_still_suppresses_something(verdicts: dict[str, checkov.Verdict]) -> None:
    failed = [(rule, address) for stack in aws_stacks.YARDS for address, rules in verdicts[stack].failed.items() for rule in rules]
    for skip in SKIPS:
        assert set(skip) == {"id", "resource", "reason", "decided_by"}
        assert any(_covers(skip, rule, address) for rule, address in failed), f"{skip['id']} {skip['resource']} suppresses nothing"


def _covers(skip: dict[str, str], rule: str, address: str) -> bool:
    return skip["id"] == rule and fnmatch.fnmatchcase(address, skip["resource"])


def _lists(token: str) -> set[str]:
    """The names of all list properties a type takes, nested ones too."""
    found: set[str] = set()

    def walk(kind: sdk.Kind, above: frozenset[sdk.Kind]) -> None:
        if kind.word == "list":
            walk(kind.parts[0], above)
        elif kind.word == "object" and kind not in above:
            for name, each in sdk.fields(kind.home, kind.name).items():
                if each.kind.word == "list":
                    found.add(name)
                walk(each.kind, above | {kind})

    for name, each in sdk.resource(token).inputs.items():
        if each.kind.word == "list":
            found.add(name)
        walk(each.kind, frozenset())
    return found
