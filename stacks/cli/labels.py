"""Labels that a user types as NAME=VALUE."""

from __future__ import annotations

from collections.abc import Sequence

from gpuyard.problems import Problem
from gpuyard.training_jobs.errors import UsageError

__all__ = ["parse_labels"]


def parse_labels(pairs: Sequence[str]) -> dict[str, str]:
    """Return the value of each label by its name. Raises UsageError that lists every text of another form."""
    parts = [(pair, *pair.partition("=")) for pair in pairs]
    wrong = [
        Problem("--label", "not a label and its value", pair, "NAME=VALUE, such as team=nlp")
        for pair, name, equals, _ in parts
        if not (name and equals)
    ]
    if wrong:
        raise UsageError("the runs cannot be selected", wrong)
    return {name: value for _, name, _, value in parts}
