"""Shared helpers of the tables that map a service's states and error texts to gpuyard's states and reasons."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..state import JOB_DONE, Outcome, Reason, State, classify

__all__ = ["FailureTable", "NodeExitCodes", "StateRow", "failed_outcome", "failure_codes", "find_reason"]

FailureTable: TypeAlias = Sequence[tuple[str, Reason]]
"""Patterns of error texts and their reasons; the first pattern found in the text decides."""

NodeExitCodes: TypeAlias = Callable[[], list[int | None]]
"""Function that reads the nodes' exit codes from the run bucket. It is called only if the service's text does not decide."""


@dataclass(frozen=True)
class StateRow:
    """The meaning of a service's status: gpuyard's `state`, an optional `reason`, and an optional `detail` for the user."""

    state: State
    detail: str | None = None
    reason: Reason | None = None


def find_reason(table: FailureTable, text: str) -> Reason | None:
    """Return the reason of the first pattern found in a text; None if no pattern matches."""
    return next((reason for pattern, reason in table if re.search(pattern, text)), None)


def failure_codes(node_exit_codes: NodeExitCodes) -> list[int | None]:
    """Return the exit codes of failed nodes from the run bucket."""
    return [code for code in node_exit_codes() if code not in (None, JOB_DONE)]


def failed_outcome(reported_code: int | None, reason: Reason | None, node_exit_codes: NodeExitCodes) -> Outcome:
    """Return the outcome of a job that its service reports as failed.

    The first of these decides: the container's exit code, if the service reports it; the nodes' exit codes, if `reason` does not show
    whether the script or the service failed; `reason`.
    """
    if reported_code is not None:
        return classify([reported_code])
    if reason in {None, Reason.USER_ERROR, Reason.INFRA} and (codes := failure_codes(node_exit_codes)):
        return classify(codes)
    if reason is Reason.PREEMPTED:
        return Outcome(State.STOPPED, reason, None)
    return Outcome(State.FAILED, reason or Reason.UNKNOWN, None)
