"""CI subjects as Azure takes them: word for word. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..validation.submitters import subject_problems

_MOST = 20  # federated credentials of one identity: learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations


def exact_subject_problems(subjects: Sequence[str]) -> list[str]:
    """What is wrong with subjects, a line each. A `*` is no pattern to Entra: no token would ever have that subject."""
    problems = subject_problems(subjects)
    problems += [
        f"submitters.{index}: got {subject!r}, allowed: a subject in full, without *: Azure compares it word for word; "
        "name each branch or environment"
        for index, subject in enumerate(subjects)
        if subject.endswith("*")
    ]
    if len(subjects) > _MOST:
        problems.append(
            f"submitters: got {len(subjects)}, allowed: at most {_MOST} of one identity; name an environment instead of branches"
        )
    if len(set(subjects)) < len(subjects):
        problems.append("submitters: got one twice, allowed: each once; remove it")
    return problems
