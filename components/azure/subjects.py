"""Check subjects of CI tokens: Azure accepts only exact subjects, without patterns. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from ...problems import Problem, show
from ..validation.submitters import subject_problems

__all__ = ["exact_subject_problems"]

_MOST = 20  # federated credentials of one identity: learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations


def exact_subject_problems(subjects: Sequence[str]) -> list[Problem]:
    """Return the problems of the subjects. Entra compares subjects literally, so a subject with a `*` would match no token."""
    problems = subject_problems(subjects)
    for index, subject in enumerate(subjects):
        if subject.endswith("*"):
            what, fix = "Azure compares subjects exactly and expands no *", "list each branch or environment"
            problems.append(Problem(f"submitters.{index}", what, show(subject), "a complete subject, without *", fix))
    if len(subjects) > _MOST:
        fix = "list one environment instead of several branches"
        problems.append(Problem("submitters", "too many subjects", str(len(subjects)), f"at most {_MOST} for one identity", fix))
    if len(set(subjects)) < len(subjects):
        problems.append(Problem("submitters", "a subject is listed twice", allowed="each subject once", fix="remove the duplicate"))
    return problems
