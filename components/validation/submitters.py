"""Rules for submitters: pipelines by the subjects of GitHub's OIDC tokens, the same on every cloud; people by the cloud's own names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from ...problems import Problem, problems_from, show
from ..spec import SubmitterSpec

__all__ = [
    "ISSUER",
    "SUBJECT_FORM",
    "People",
    "Submitter",
    "open_subject_problems",
    "people_of",
    "pipelines_of",
    "repository_id_problems",
    "repository_ids",
    "subject_problems",
    "subjects_of",
    "submitter_problems",
]

Submitter = str | SubmitterSpec | Mapping[str, str | int]
"""A subject of a pipeline, or a person or group of the cloud. A subject with a reason or a repository id is a SubmitterSpec, or a mapping
with its keys."""

ISSUER = "token.actions.githubusercontent.com"
_PIPELINE = "repo:"
_SUBJECT = re.compile(r"repo:[^/:*?\s]+/[^/:*?\s]+:[^*?\s]*\*?")
SUBJECT_FORM = "repo:ORG/REPOSITORY:ref:refs/heads/BRANCH (or :environment:NAME), with at most one * at the very end"


class People(NamedTuple):
    """How a cloud names the people and groups that may submit."""

    pattern: re.Pattern[str]
    form: str
    """Description of the pattern, for messages."""


def pipelines_of(subjects: Sequence[str]) -> list[str]:
    """Return the submitters that are subjects of pipelines."""
    return [subject for subject in subjects if subject.startswith(_PIPELINE)]


def people_of(subjects: Sequence[str]) -> list[str]:
    """Return the submitters that are people, groups or other principals of the cloud."""
    return [subject for subject in subjects if not subject.startswith(_PIPELINE)]


def subject_problems(subjects: Sequence[str], people: People) -> list[Problem]:
    """Return a problem for each submitter in a wrong form. A `*` before the end would admit repositories of other organizations."""
    problems = []
    for index, subject in enumerate(subjects):
        if subject.startswith(_PIPELINE):
            if not _SUBJECT.fullmatch(subject):
                fix = "write repository and branch in full"
                problems.append(Problem(f"submitters.{index}", "not a GitHub token subject", show(subject), SUBJECT_FORM, fix))
        elif not people.pattern.fullmatch(subject):
            allowed = f"{people.form}; or a pipeline, {SUBJECT_FORM}"
            problems.append(Problem(f"submitters.{index}", "not a person, group or pipeline", show(subject), allowed))
    if len(set(subjects)) < len(subjects):
        problems.append(Problem("submitters", "a submitter is listed twice", allowed="each once", fix="remove the duplicate"))
    return problems


def open_subject_problems(submitters: Sequence[object]) -> list[Problem]:
    """Return a problem for each subject with `*`, or for pull requests, that has no reason: it admits unreviewed code."""
    fix = "list exact branches or environments, or write {subject: ..., reason: ...}"
    bare = [(index, _without_reason(each)) for index, each in enumerate(submitters)]
    return [
        Problem(f"submitters.{index}", "admits code that nobody has reviewed", show(subject), "an exact branch or environment", fix)
        for index, subject in bare
        if isinstance(subject, str) and _SUBJECT.fullmatch(subject) and (subject.endswith("*") or subject.endswith(":pull_request"))
    ]


def _without_reason(submitter: object) -> object:
    """Return the subject of a submitter that has no reason, else None."""
    if isinstance(submitter, SubmitterSpec):
        return submitter.subject if submitter.reason is None else None
    if isinstance(submitter, Mapping):
        return submitter.get("subject") if submitter.get("reason") is None else None
    return submitter


def repository_ids(submitters: Sequence[Submitter]) -> dict[str, int]:
    """Return the repository id of each valid submitter that has one, by subject."""
    return {spec.subject: spec.repository_id for _, spec in _specs(submitters) if spec.repository_id is not None}


def repository_id_problems(submitters: Sequence[Submitter], cloud: str) -> list[Problem]:
    """Return a problem for each repository id on a cloud that does not check it, and for each id of a submitter that is no pipeline."""
    allowed = "none for people and groups" if cloud == "gcp" else f"none on {cloud}"
    return [
        Problem(f"submitters.{index}.repository_id", "has no effect", str(spec.repository_id), allowed, "remove repository_id")
        for index, spec in _specs(submitters)
        if spec.repository_id is not None and (cloud != "gcp" or not spec.subject.startswith(_PIPELINE))
    ]


def submitter_problems(submitters: object) -> list[Problem]:
    """Return a problem for each value of a wrong type in a component's `submitters`."""
    if isinstance(submitters, str | Mapping) or not isinstance(submitters, Collection):
        return [Problem("submitters", "wrong type", got=show(submitters), allowed="a list of strings", fix="write submitters=[...]")]
    return [problem for index, each in enumerate(submitters) for problem in _type_problems(index, each)]


def _type_problems(index: int, submitter: object) -> list[Problem]:
    if isinstance(submitter, str | SubmitterSpec):
        return []
    if not isinstance(submitter, Mapping):
        return [Problem(f"submitters.{index}", "wrong type", got=show(submitter), allowed="a string, or {subject: ..., reason: ...}")]
    try:
        SubmitterSpec.model_validate(dict(submitter))
    except ValidationError as error:
        return problems_from(error, SubmitterSpec, f"submitters.{index}.")
    return []


def subjects_of(submitters: Sequence[Submitter]) -> list[str]:
    """Return the subject of each valid submitter."""
    specs = dict(_specs(submitters))
    return [each if isinstance(each, str) else specs[index].subject for index, each in enumerate(submitters)]


def _specs(submitters: Sequence[Submitter]) -> list[tuple[int, SubmitterSpec]]:
    """Return index and spec of each submitter that is more than a subject."""
    return [(index, SubmitterSpec.model_validate(each)) for index, each in enumerate(submitters) if not isinstance(each, str)]
