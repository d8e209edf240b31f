"""A finding of a policy rule: a violation or a warning, and the resources that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from .yard import RecordedComponent, RecordedPool, Resource

__all__ = ["Finding", "violation", "warning"]

Subject = Resource | RecordedComponent | RecordedPool


class Finding(NamedTuple):
    """One violation or warning of a rule."""

    level: Literal["violated", "warning"]
    text: str
    urns: tuple[str, ...] = ()
    """URNs of the resources that it is about. Empty: the whole stack."""


def violation(subject: Subject, text: str) -> Finding:
    """Return a violation by one resource."""
    return Finding("violated", text, (subject.urn,))


def warning(subjects: Sequence[Subject], text: str) -> Finding:
    """Return a warning about several resources."""
    return Finding("warning", text, tuple(each.urn for each in subjects))
