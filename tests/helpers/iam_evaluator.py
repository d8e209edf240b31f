"""Evaluates IAM identity policies as documented: Allow statements and the operators that we use. Anything else raises an error.

moto evaluates neither the resources of most services nor the conditions of identity policies (moto/iam/access_control.py).
docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Context = Mapping[str, str | Sequence[str]]


def allows(document: Mapping[str, Any], action: str, resource: str, context: Context | None = None) -> bool:
    """Return whether a policy allows a call on one resource. A call on several resources needs each of them."""
    return any(
        entry["Effect"] == "Allow"
        and action in entry["Action"]
        and any(_like(pattern, resource) for pattern in entry["Resource"])
        and _holds(entry.get("Condition", {}), context or {})
        for entry in document["Statement"]
    )


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    return all(_key_holds(operator, key, values, context) for operator, keys in conditions.items() for key, values in keys.items())


def _key_holds(operator: str, key: str, values: Any, context: Context) -> bool:
    wanted = [values] if isinstance(values, str) else list(values)
    if operator == "Null":
        return (key not in context) == (wanted == ["true"])
    every = operator.startswith("ForAllValues:")
    plain = operator.removeprefix("ForAllValues:")
    if_exists = plain.endswith("IfExists")
    if key not in context:
        return every or if_exists
    matches = _OPERATORS[plain.removesuffix("IfExists")]
    got = context[key]
    found = [any(matches(pattern, value) for pattern in wanted) for value in ([got] if isinstance(got, str) else got)]
    assert every or len(found) == 1, f"{key} has several values, which only ForAllValues accepts"
    return all(found)


def _like(pattern: str, value: str) -> bool:
    words = {"*": ".*", "?": "."}
    return re.fullmatch("".join(words.get(letter, re.escape(letter)) for letter in pattern), value, re.DOTALL) is not None


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "NumericLessThanEquals": lambda pattern, value: float(value) <= float(pattern),
    "Bool": lambda pattern, value: pattern.lower() == value.lower(),
}
