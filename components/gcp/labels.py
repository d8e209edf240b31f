"""Tags as Google's labels: small letters, digits, _ and -, at most 63 of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...problems import Problem, show

_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LIMIT = 63
STACK_LABEL = "gpuyard_stack"
"""The label that everything of a stack has, and every job sent to it (training_jobs/clouds/gcp.py): budgets go by it."""
_OWN = (STACK_LABEL, "name")
_MOST = 64 - len(_OWN)  # cloud.google.com/compute/docs/labeling-resources#restrictions


def labels(tags: Mapping[str, str], stack: str, name: str) -> dict[str, str]:
    """The labels of a resource: its component's tags, the stack and its own name, each as Google takes it.

    >>> labels({"owner": "ml-platform@acme.io"}, "gpuyard/dev-gcp", "net")
    {'owner': 'ml-platform-acme-io', 'gpuyard_stack': 'gpuyard-dev-gcp', 'name': 'net'}
    """
    return {key: label_value(value) for key, value in {**tags, STACK_LABEL: stack, "name": name}.items()}


def label_value(text: str) -> str:
    """A text as a label's value, by the rule of the jobs' labels: what is not allowed is a dash, of what is too long the end stays.

    >>> label_value("Team NLP")
    'team-nlp'
    """
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[-_LIMIT:].lstrip("-_")


def tag_problems(tags: Mapping[str, Any]) -> list[Problem]:
    """What Google would refuse of tags, a line each. Values are made legal, keys are not: two of them could become one.

    >>> tag_problems({"owner": "ml-platform@acme.io", "expires": "2027-03-31"})
    []
    """
    problems = []
    for key, value in tags.items():
        if not isinstance(value, str):
            problems.append(Problem(f"tags.{key}", "not a string", show(value), "a string", "quote it"))
        if key in _OWN:
            problems.append(Problem("tags", "reserved key", show(key), f"any key but {' and '.join(_OWN)}", "choose another key"))
        elif not _KEY.fullmatch(str(key)):
            allowed = "a small letter, then small letters, digits, _ and -, at most 63 characters"
            problems.append(Problem("tags", "not a valid label key", show(key), allowed))
    if len(tags) > _MOST:
        problems.append(Problem("tags", "too many tags", str(len(tags)), f"at most {_MOST}", "remove some"))
    return problems
