"""Errors for people: what went wrong, the value got, the values allowed, the fix.

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


class GpuyardError(Exception):
    """Base of every error with a message for people; `exit_code` is what a command returns."""

    exit_code = Exit.INTERNAL


class UsageError(GpuyardError):
    """Bad input: nothing was created or changed. Carries every problem at once."""

    exit_code = Exit.USAGE

    def __init__(self, subject: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(render_problems(subject, self.problems))


class ConflictError(UsageError):
    """A request key (or a run) is already bound to another spec or other code."""


class CapacityError(GpuyardError):
    """The service has no machines for the job now."""

    exit_code = Exit.CAPACITY


class QuotaError(GpuyardError):
    """A limit of the account forbids the job."""

    exit_code = Exit.QUOTA


class AuthError(GpuyardError):
    """Not authenticated, or not permitted."""

    exit_code = Exit.AUTH


class NotFoundError(GpuyardError):
    """There is no such run, pool or target."""

    exit_code = Exit.NOT_FOUND


class LostSightError(GpuyardError):
    """The service cannot be asked at present; the job may still run."""

    exit_code = Exit.LOST_SIGHT
