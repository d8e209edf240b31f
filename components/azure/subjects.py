"""CI subjects as Azure takes them: word for word. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...problems import Problem, show
from ..validation.submitters import subject_problems

_MOST = 20  # federated credentials of one identity: learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations


def exact_subject_problems(subjects: Sequence[str]) -> list[Problem]:
    """Return the problems of subjects. Entra does not expand a `*`: no token ever has that subject."""
    problems = subject_problems(subjects)
    problems += [
        Problem(
            f"submitters.{index}",
            "Azure compares subjects exactly and expands no *",
            show(subject),
            "a complete subject, without *",
            "list each branch or environment",
        )
        for index, subject in enumerate(subjects)
        if subject.endswith("*")
    ]
    if len(subjects) > _MOST:
        fix = "use an environment instead of branches"
        problems.append(Problem("submitters", "too many subjects", str(len(subjects)), f"at most {_MOST} for one identity", fix))
    if len(set(subjects)) < len(subjects):
        problems.append(Problem("submitters", "a subject is listed twice", allowed="each subject once", fix="remove the second"))
    return problems
