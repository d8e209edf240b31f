"""The errors of gpuyard: each has a message for people and an exit code.

GpuyardError            exit 70
|- UsageError           2    bad spec or usage, all problems at once
|  `- ConflictError     2    one request key, two different jobs
|- CapacityError        3
|- QuotaError           4
|- AuthError            5
|- NotFoundError        7
`- LostSightError       8
"""

from __future__ import annotations

from collections.abc import Sequence

from ..problems import Problem, render_problems
from .state import Exit

__all__ = ["AuthError", "CapacityError", "ConflictError", "GpuyardError", "LostSightError", "NotFoundError", "QuotaError", "UsageError"]


class GpuyardError(Exception):
    """Base of all errors of gpuyard. `exit_code` is the exit code of the command."""

    exit_code = Exit.INTERNAL


class UsageError(GpuyardError):
    """The input is wrong. Nothing was created or changed. `problems` lists every mistake."""

    exit_code = Exit.USAGE

    def __init__(self, subject: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(render_problems(subject, self.problems))


class ConflictError(UsageError):
    """The request key or the run belongs to another spec or other code."""


class CapacityError(GpuyardError):
    """The service has no free machines for the job now."""

    exit_code = Exit.CAPACITY


class QuotaError(GpuyardError):
    """A limit of the account forbids the job."""

    exit_code = Exit.QUOTA


class AuthError(GpuyardError):
    """The credentials are missing, have expired or lack a permission."""

    exit_code = Exit.AUTH


class NotFoundError(GpuyardError):
    """The run, pool or target does not exist."""

    exit_code = Exit.NOT_FOUND


class LostSightError(GpuyardError):
    """The service cannot be queried now. The job may still run."""

    exit_code = Exit.LOST_SIGHT
