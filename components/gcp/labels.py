"""Google Cloud labels made from tags: lower-case letters, digits, _ and -, at most 63 characters. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...problems import Problem, show

__all__ = ["STACK_LABEL", "label_value", "labels", "tag_problems"]

_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LIMIT = 63
STACK_LABEL = "gpuyard_stack"
"""Label of all resources of a stack and of every job submitted to it (training_jobs/clouds/gcp.py). Budgets filter by it."""
_OWN = (STACK_LABEL, "name")
_MOST = 64 - len(_OWN)  # cloud.google.com/compute/docs/labeling-resources#restrictions


def labels(tags: Mapping[str, str], stack: str, name: str) -> dict[str, str]:
    """Return the labels of a resource: its component's tags, the stack and its own name, with legal values.

    >>> labels({"owner": "ml-platform@acme.io"}, "gpuyard/dev-gcp", "net")
    {'owner': 'ml-platform-acme-io', 'gpuyard_stack': 'gpuyard-dev-gcp', 'name': 'net'}
    """
    return {key: label_value(value) for key, value in {**tags, STACK_LABEL: stack, "name": name}.items()}


def label_value(text: str) -> str:
    """Return text as a legal label value: lower case, a dash for each illegal character, the last 63 characters.

    Submitters make the labels of jobs in the same way.

    >>> label_value("Team NLP")
    'team-nlp'
    """
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[-_LIMIT:].lstrip("-_")


def tag_problems(tags: Mapping[str, object]) -> list[Problem]:
    """Return the problems of tags that become labels.

    `label_value` makes values legal. Keys stay unchanged, because two keys could become the same.

    >>> tag_problems({"owner": "ml-platform@acme.io", "expires": "2027-03-31"})
    []
    """
    problems = []
    for key, value in tags.items():
        if not isinstance(value, str):
            problems.append(Problem(f"tags.{key}", "not a string", show(value), "a string", "quote the value"))
        if key in _OWN:
            problems.append(Problem("tags", "reserved key", show(key), f"any key but {' and '.join(_OWN)}", "choose another key"))
        elif not _KEY.fullmatch(str(key)):
            allowed = "a lower-case letter, then lower-case letters, digits, _ and -, at most 63 characters"
            problems.append(Problem("tags", "not a valid label key", show(key), allowed))
    if len(tags) > _MOST:
        problems.append(Problem("tags", "too many tags", str(len(tags)), f"at most {_MOST}", "remove some tags"))
    return problems
