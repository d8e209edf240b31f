"""Rules for submitters: subjects of GitHub's OIDC tokens, in the same form on every cloud."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...problems import Problem, show

__all__ = ["ISSUER", "SUBJECT_FORM", "open_subject_problems", "subject_problems"]

ISSUER = "token.actions.githubusercontent.com"
_SUBJECT = re.compile(r"repo:[^/:*?\s]+/[^/:*?\s]+:[^*?\s]*\*?")
SUBJECT_FORM = "repo:ORG/REPOSITORY:ref:refs/heads/BRANCH (or :environment:NAME), with at most one * at the very end"


def subject_problems(subjects: Sequence[str]) -> list[Problem]:
    """Return a problem for each malformed subject. A `*` before the end would admit repositories of other organizations."""
    return [
        Problem(f"submitters.{index}", "not a GitHub token subject", show(subject), SUBJECT_FORM, "write repository and branch in full")
        for index, subject in enumerate(subjects)
        if not _SUBJECT.fullmatch(subject)
    ]


def open_subject_problems(submitters: Sequence[object]) -> list[Problem]:
    """Return a problem for each subject without a reason that has a `*` or is for pull requests: it admits unreviewed code."""
    fix = "list exact branches or environments, or write {subject: ..., reason: ...}"
    return [
        Problem(f"submitters.{index}", "admits code that nobody has reviewed", show(subject), "an exact branch or environment", fix)
        for index, subject in enumerate(submitters)
        if isinstance(subject, str) and _SUBJECT.fullmatch(subject) and (subject.endswith("*") or subject.endswith(":pull_request"))
    ]
