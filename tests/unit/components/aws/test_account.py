"""The account of AWS components and the rules for their tags."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from gpuyard.components.aws.account import AwsComponent, look_up_account, tag_problems
from gpuyard.components.base import after


class Thing(AwsComponent):
    """A component for these tests."""

    def __init__(self, name: str, tags: Any = None, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Thing", name, {}, tags, opts)
        self.register_outputs({"tags": self.aws_tags("part")})


def test_the_account_comes_from_the_provider_and_is_unknown_in_a_preview(record: Any) -> None:
    def program() -> None:
        account = look_up_account(Thing("t"))
        pulumi.export("account", [account.id, account.region, account.partition])

    assert record(program).exports["account"] == ["111122223333", "us-east-1", "aws"]
    recorded = record(program, preview=True)
    assert recorded.unknown == {"account"}
    assert len(recorded.lookups) == 3


def test_a_child_has_the_tags_of_its_component_and_the_tags_stack_and_name(record: Any) -> None:
    def program() -> None:
        outer = Thing("outer", {"owner": "me", "team": "nlp"})
        Thing("inner", {"team": "cv"}, pulumi.ResourceOptions(parent=outer))

    recorded = record(program)
    found = {urn.rpartition("::")[2]: outputs["tags"] for urn, outputs in recorded.component_outputs.items() if "Thing" in urn}
    assert found["inner"] == {"owner": "me", "team": "cv", "stack": "gpuyard/local", "Name": "inner-part"}


def test_after_returns_the_value(record: Any) -> None:
    recorded = record(lambda: pulumi.export("it", after(pulumi.Output.from_input("a"), [pulumi.Output.from_input("b")])))
    assert recorded.exports["it"] == "a"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"owner": "ml-platform@acme.io", "expires": "2027-03-31", "Kostenstelle": "Größe 1+2 = a/b:c_d", "empty": ""}, []),
        ({"cost": 3}, ["tags.cost: not a valid tag value, got 3"]),
        ({"a": "x;y", "b": "y" * 257}, ["tags.a: not a valid tag value, got 'x;y'", "tags.b: not a valid tag value, got 'yyy"]),
        (
            {"": "a", "k" * 129: "b", "a?": "c"},
            ["tags: not a valid tag key, got ''", "tags: not a valid tag key, got 'kkk", "tags: not a valid tag key, got 'a?'"],
        ),
        (
            {"Name": "a", "STACK": "b", "AWS:c": "d"},
            ["tags: reserved key, got 'Name'", "tags: reserved key, got 'STACK'", "tags: reserved key, got 'AWS:c'"],
        ),
        ({"team": "a", "Team": "b"}, ["tags: keys differ only in case, got 'team'", "tags: keys differ only in case, got 'Team'"]),
        ({f"t{index}": "" for index in range(49)}, ["tags: too many tags, got 49, allowed: at most 48"]),
    ],
)
def test_tags_that_aws_rejects_are_reported(tags: dict[str, Any], expected: list[str]) -> None:
    found = tag_problems(tags)
    assert len(found) == len(expected), found
    assert all(text in str(line) for line, text in zip(found, expected, strict=True)), found
