"""One check of `gpuyard doctor` and the facts that the checks of a stack read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gpuyard.components.planning.yard import RecordedYard
from gpuyard.training_jobs.target import JobTarget

__all__ = ["Check", "StackFacts"]


class Check(NamedTuple):
    """The result of one check."""

    name: str
    ok: bool
    detail: str
    fix: str | None


class StackFacts(NamedTuple):
    """The inputs of every check of a stack."""

    yard: RecordedYard
    """The stack's program, as `gpuyard plan` records it."""
    config: Mapping[str, str]
    """The stack's configuration: full key -> text."""
    targets: Mapping[str, JobTarget] | None
    """The stack's job targets; None: the stack is not up."""
