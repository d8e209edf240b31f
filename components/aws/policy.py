"""IAM policy documents from statements. This module rejects wildcards that allowed_wildcards.py does not list.

Statements are classes, not tuples: Pulumi converts a tuple inside an output to a list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...plain_data import PlainDict, PlainMapping
from .allowed_wildcards import is_listed

__all__ = ["ArnScope", "Conditions", "PolicyError", "Statement", "policy_document", "trust_document"]

Conditions = Mapping[str, Mapping[str, str | Sequence[str]]]
_LIMIT = 10_240  # characters of all inline policies of a role: docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
_TRUST_LIMIT = 2_048  # of a trust policy, unless the account has a higher quota


@dataclass(frozen=True)
class ArnScope:
    """The account, region and partition of ARNs, as plain text. account.Account has the same order of fields."""

    account: str
    region: str
    partition: str

    def arn(self, service: str, resource: str) -> str:
        """Return an ARN of this account and region.

        >>> ArnScope("111122223333", "us-east-1", "aws").arn("batch", "job-queue/a")
        'arn:aws:batch:us-east-1:111122223333:job-queue/a'
        """
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


@dataclass(frozen=True)
class Statement:
    """One Allow statement. There are no Deny statements: IAM denies everything that is not allowed."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    """ARNs as plain text: build statements inside `apply`, where ids are known."""
    conditions: Conditions = field(default_factory=dict)
    """Operator -> key -> values; all conditions must match."""
    why: str = ""
    """The reason, required; docs/aws-permissions.md prints it."""


class PolicyError(ValueError):
    """A policy with an unlisted wildcard, without a reason, or longer than IAM's limit."""


def policy_document(statements: Sequence[Statement]) -> PlainDict:
    """Return an IAM policy. Raises PolicyError with every unlisted wildcard and every missing reason."""
    problems = [problem for statement in statements for problem in _problems(statement)]
    document = {"Version": "2012-10-17", "Statement": [_entry(statement) for statement in statements]}
    return _checked(document, problems, _LIMIT)


def trust_document(entries: Sequence[PlainMapping]) -> PlainDict:
    """Return a trust policy. Raises PolicyError for unlisted wildcards in conditions, or if the policy is too long."""
    problems = [problem for entry in entries for problem in _unlisted(entry.get("Condition", {}))]
    return _checked({"Version": "2012-10-17", "Statement": [dict(entry) for entry in entries]}, problems, _TRUST_LIMIT)


def _checked(document: PlainDict, problems: list[str], limit: int) -> PlainDict:
    size = len(json.dumps(document, separators=(",", ":")))
    if not document["Statement"]:
        problems.append("the policy has no statement; remove the role")
    if size > limit:
        problems.append(
            f"the policy is too long, got {size} characters, allowed: {limit}; declare fewer buckets, pools, secrets or submitters"
        )
    if problems:
        raise PolicyError("; ".join(problems))
    return document


def _entry(statement: Statement) -> PlainDict:
    entry: PlainDict = {"Effect": "Allow", "Action": list(statement.actions), "Resource": list(statement.resources)}
    if statement.conditions:
        entry["Condition"] = {operator: dict(keys) for operator, keys in statement.conditions.items()}
    return entry


def _problems(statement: Statement) -> Iterator[str]:
    if not (statement.why and statement.actions and statement.resources):
        yield f"{statement}: actions, resources and why are required"
    for action in statement.actions:
        if _has_wildcard(action):
            yield f"{action}: wildcards in actions are not allowed; list the actions"
    for resource in statement.resources:
        if _has_wildcard(resource) and not is_listed(resource, statement.actions):
            yield f"{resource} for {', '.join(statement.actions)}: the wildcard is not in allowed_wildcards.py; add a row with its reason"
    yield from _unlisted(statement.conditions)


def _unlisted(conditions: Conditions) -> Iterator[str]:
    for operator, keys in conditions.items():
        for key, values in keys.items():
            for value in _each(values):
                if _expands_wildcards(operator) and _has_wildcard(value) and not is_listed(value, (key,)) and not key.endswith(":sub"):
                    yield f"{key} {value}: the wildcard is not in allowed_wildcards.py; add a row with its reason"


def _expands_wildcards(operator: str) -> bool:
    """Return whether the operator expands `*`. StringEquals does not; ArnEquals is the same as ArnLike."""
    return "Like" in operator or operator.startswith("Arn")


def _each(values: str | Sequence[str]) -> Iterable[str]:
    return (values,) if isinstance(values, str) else values


def _has_wildcard(text: str) -> bool:
    return "*" in text or "?" in text
