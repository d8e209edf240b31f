"""Who may submit without a person: subjects of GitHub's OIDC tokens, the same words on every cloud. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

ISSUER = "token.actions.githubusercontent.com"
_SUBJECT = re.compile(r"repo:[^/:*?\s]+/[^/:*?\s]+:[^*?\s]*\*?")
SUBJECT_FORM = "repo:ORG/REPOSITORY:ref:refs/heads/BRANCH (or :environment:NAME), a * at its very end at most"


def subject_problems(subjects: Sequence[str]) -> list[str]:
    """What is wrong with subjects, a line each: a `*` anywhere but at the end would let strangers' repositories in."""
    return [
        f"submitters.{index}: got {subject!r}, allowed: {SUBJECT_FORM}; name the repository and the branch in full"
        for index, subject in enumerate(subjects)
        if not _SUBJECT.fullmatch(subject)
    ]
