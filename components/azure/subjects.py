"""Check submitters: exact subjects of CI tokens, without patterns, and the object ids of people and groups. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...problems import Problem, show
from ..validation.submitters import People, pipelines_of, subject_problems

__all__ = ["PEOPLE", "exact_subject_problems", "principal"]

_MOST = 20  # federated credentials of one identity: learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations


_TYPES = {"user": "User", "group": "Group", "service": "ServicePrincipal"}
"""Kind of a submitter -> principalType of a role assignment: learn.microsoft.com/rest/api/authorization/role-assignments/create"""
PEOPLE = People(
    re.compile(rf"({'|'.join(_TYPES)}):[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}"),
    "user:OBJECT-ID, group:OBJECT-ID or service:OBJECT-ID of Entra (`az ad group show --group NAME --query id` prints it)",
)


def principal(person: str) -> tuple[str, str]:
    """Return the principal type and the object id of a person or group.

    >>> principal("group:0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9")
    ('Group', '0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9')
    """
    kind, _, object_id = person.partition(":")
    return _TYPES[kind], object_id


def exact_subject_problems(subjects: Sequence[str]) -> list[Problem]:
    """Return the problems of submitters. Entra compares subjects literally, so a subject with a `*` would match no token."""
    problems = subject_problems(subjects, PEOPLE)
    pipelines = pipelines_of(subjects)
    for index, subject in enumerate(subjects):
        if subject in pipelines and subject.endswith("*"):
            what, fix = "Azure compares subjects exactly and expands no *", "list each branch or environment"
            problems.append(Problem(f"submitters.{index}", what, show(subject), "a complete subject, without *", fix))
    if len(pipelines) > _MOST:
        fix = "list one environment instead of several branches"
        problems.append(Problem("submitters", "too many subjects", str(len(pipelines)), f"at most {_MOST} for one identity", fix))
    return problems
