"""The stand-in for AWS's provider refuses what AWS refuses: each rule has an example that breaks only it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.pulumi_provider.aws_refusals import ENVIRONMENT, QUEUE, RULES, SHARES, TEMPLATE, change_refusals, refusals

CARD = {"networkCardIndex": 0, "deviceIndex": 0, "interfaceType": "efa", "securityGroups": ["sg-1"]}
SECOND = {"networkCardIndex": 0, "deviceIndex": 1, "interfaceType": "efa-only", "securityGroups": ["sg-1"]}
GROUPS = {"securityGroupIds": ["sg-1"]}


def environment(resources: dict[str, Any], *cards: dict[str, Any]) -> list[str]:
    made = {"computeResources": {"launchTemplate": {"launchTemplateId": "lt-1"}, **resources}}
    return refusals(ENVIRONMENT, made, {"lt-1": {"networkInterfaces": list(cards)}}.get)


def template(*cards: dict[str, Any], **more: Any) -> list[str]:
    return refusals(TEMPLATE, {"networkInterfaces": list(cards), **more}, lambda _: None)


def shares(**factors: float) -> list[str]:
    distributions = [{"shareIdentifier": team.replace("_", "-"), "weightFactor": factor} for team, factor in factors.items()]
    return refusals(SHARES, {"fairSharePolicy": {"shareDistributions": distributions}}, lambda _: None)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (environment(GROUPS, CARD), "exclusively allowed"),
        (environment({}), "one or more security groups"),
        (environment({}, CARD, SECOND), "no slot"),
        (template(CARD, {**SECOND, "associatePublicIpAddress": "false"}), "EFA-only"),
        (template({**CARD, "interfaceType": "efa-only"}), "first interface"),
        (template(CARD, CARD), "device index"),
        (
            refusals(ENVIRONMENT, {"computeResources": GROUPS, "updatePolicy": {"jobExecutionTimeoutMinutes": 7200}}, lambda _: None),
            "1 - 360",
        ),
        (shares(a_team=1), "letters and digits"),
        (shares(team=0.00001), "weight factor"),
        (change_refusals(QUEUE, {}, {"schedulingPolicyArn": "arn:s"}), "cannot be added"),
        (change_refusals(QUEUE, {"schedulingPolicyArn": "arn:s"}, {}), "removed from it"),
        (template(CARD, vpcSecurityGroupIds=["sg-1"]), "security groups must be a part of it"),
    ],
)
def test_one_rule_refuses(refused: list[str], words: str) -> None:
    assert len(refused) == 1
    assert words in refused[0]


def test_valid_requests_are_not_refused() -> None:
    assert environment(GROUPS) + environment({}, CARD) + template(CARD, SECOND) + template() == []
    assert shares(nlp=0.5, vision=1) + change_refusals(QUEUE, {"priority": 1}, {"priority": 2}) == []


def test_every_rule_has_a_source_and_a_date() -> None:
    assert all(rule.source and rule.date and rule.message for rule in RULES)
