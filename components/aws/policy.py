"""Policy documents from statements: pure; a wildcard that the table does not explain is refused.

Plain classes, not tuples: Pulumi would take a tuple inside an output apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .allowed_wildcards import explained

Conditions = Mapping[str, Mapping[str, str | Sequence[str]]]
_LIMIT = 10_240  # characters of all inline policies of a role: docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
_TRUST_LIMIT = 2_048  # of a trust policy, unless the account asked for more


@dataclass(frozen=True)
class Place:
    """Account, region and partition, known. The order is that of account.Account."""

    account: str
    region: str
    partition: str

    def arn(self, service: str, resource: str) -> str:
        """An ARN of this account and region.

        >>> Place("111122223333", "us-east-1", "aws").arn("batch", "job-queue/a")
        'arn:aws:batch:us-east-1:111122223333:job-queue/a'
        """
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


@dataclass(frozen=True)
class Statement:
    """What is allowed on what. There is no denying: what is not allowed is denied."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    """ARNs, all of them known: build statements where ids are known (inside `apply`)."""
    conditions: Conditions = field(default_factory=dict)
    """Operator -> key -> values, all of which must hold."""
    why: str = ""
    """For people: what needs it. Required; docs/aws-permissions.md prints it."""


class PolicyError(ValueError):
    """A policy that is not narrow enough, not explained, or longer than IAM takes."""


def policy_document(statements: Sequence[Statement]) -> dict[str, Any]:
    """An IAM policy. Raises PolicyError, naming every wildcard that wildcards.py does not explain and every missing reason."""
    problems = [problem for statement in statements for problem in _problems(statement)]
    document = {"Version": "2012-10-17", "Statement": [_entry(statement) for statement in statements]}
    return _checked(document, problems, _LIMIT)


def trust_document(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A trust policy of ready statements: the same rules for their conditions. Raises PolicyError."""
    problems = [problem for entry in entries for problem in _unexplained(entry.get("Condition", {}))]
    return _checked({"Version": "2012-10-17", "Statement": [dict(entry) for entry in entries]}, problems, _TRUST_LIMIT)


def _checked(document: dict[str, Any], problems: list[str], limit: int) -> dict[str, Any]:
    size = len(json.dumps(document, separators=(",", ":")))
    if not document["Statement"]:
        problems.append("no statement: a role that may do nothing is not needed")
    if size > limit:
        problems.append(f"{size} characters, IAM takes {limit}: give the yard fewer buckets, pools, secrets or submitters")
    if problems:
        raise PolicyError("; ".join(problems))
    return document


def _entry(statement: Statement) -> dict[str, Any]:
    entry: dict[str, Any] = {"Effect": "Allow", "Action": list(statement.actions), "Resource": list(statement.resources)}
    if statement.conditions:
        entry["Condition"] = {operator: dict(keys) for operator, keys in statement.conditions.items()}
    return entry


def _problems(statement: Statement) -> Iterator[str]:
    if not (statement.why and statement.actions and statement.resources):
        yield f"{statement}: actions, resources and why are required"
    for action in statement.actions:
        if _wild(action):
            yield f"{action}: actions are named one by one"
    for resource in statement.resources:
        if _wild(resource) and not explained(resource, statement.actions):
            yield f"{resource} for {', '.join(statement.actions)}: no row in wildcards.py explains it"
    yield from _unexplained(statement.conditions)


def _unexplained(conditions: Conditions) -> Iterator[str]:
    for operator, keys in conditions.items():
        for key, values in keys.items():
            for value in _each(values):
                if _like(operator) and _wild(value) and not explained(value, (key,)) and not key.endswith(":sub"):
                    yield f"{key} {value}: no row in wildcards.py explains it"


def _like(operator: str) -> bool:
    """Whether `*` means anything to the operator; to StringEquals it is a letter like others. ArnEquals is ArnLike."""
    return "Like" in operator or operator.startswith("Arn")


def _each(values: str | Sequence[str]) -> Iterable[str]:
    return (values,) if isinstance(values, str) else values


def _wild(text: str) -> bool:
    return "*" in text or "?" in text
