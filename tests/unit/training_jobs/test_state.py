"""Exit codes and the classification of ends: fixed, because pipelines depend on them."""

from __future__ import annotations

import pytest

from gpuyard.training_jobs import state
from gpuyard.training_jobs.state import Exit, Reason, State, classify, exit_for


def test_the_table_of_exit_codes() -> None:
    codes = {code.name: int(code) for code in Exit}
    assert codes == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "CAPACITY": 3,
        "QUOTA": 4,
        "AUTH": 5,
        "FABRIC": 6,
        "NOT_FOUND": 7,
        "LOST_SIGHT": 8,
        "INTERNAL": 70,
        "STOPPED": 75,
        "TIMEOUT": 124,
        "INTERRUPTED": 130,
    }
    assert set(state.MEANING) == set(Exit)


@pytest.mark.parametrize(
    ("ended", "reason", "code"),
    [
        (State.SUCCEEDED, None, 0),
        (State.FAILED, Reason.USER_ERROR, 1),
        (State.FAILED, Reason.INFRA, 1),
        (State.FAILED, Reason.COST, 1),
        (State.FAILED, Reason.CAPACITY, 3),
        (State.FAILED, Reason.QUOTA, 4),
        (State.FAILED, Reason.FABRIC, 6),
        (State.FAILED, Reason.TIMEOUT, 124),
        (State.STOPPED, Reason.PREEMPTED, 75),
        (State.STOPPED, Reason.FABRIC, 75),
        (State.CANCELLED, None, 1),
        (State.UNKNOWN, None, 8),
        (State.UNKNOWN, Reason.UNKNOWN, 8),
    ],
)
def test_the_exit_code_of_an_outcome(ended: State, reason: Reason | None, code: int) -> None:
    assert exit_for(ended, reason) == code


@pytest.mark.parametrize(
    ("codes", "ended", "reason", "code"),
    [
        ([0, 0], State.SUCCEEDED, None, 0),
        ([75, 75], State.STOPPED, Reason.PREEMPTED, 75),
        ([0, 75], State.STOPPED, Reason.PREEMPTED, 75),
        ([3, 1], State.FAILED, Reason.USER_ERROR, 3),
        ([75, 7], State.FAILED, Reason.USER_ERROR, 7),
        ([1, 64], State.FAILED, Reason.USER_ERROR, 64),
        ([69, 1], State.FAILED, Reason.FABRIC, 69),
        ([74, 74], State.FAILED, Reason.INFRA, 74),
        ([1, 74], State.FAILED, Reason.INFRA, 74),
        ([74, 64], State.FAILED, Reason.USER_ERROR, 64),
        ([74, 69], State.FAILED, Reason.FABRIC, 69),
        ([None, 74], State.FAILED, Reason.INFRA, 74),
        ([None, 75], State.FAILED, Reason.INFRA, None),
        ([0, None], State.FAILED, Reason.INFRA, None),
        ([None, 64], State.FAILED, Reason.USER_ERROR, 64),
        ([137], State.FAILED, Reason.USER_ERROR, 137),
    ],
)
def test_the_outcome_of_the_nodes_exit_codes(codes: list[int | None], ended: State, reason: Reason | None, code: int | None) -> None:
    outcome = classify(codes)
    assert (outcome.state, outcome.reason, outcome.exit_code) == (ended, reason, code)


def test_only_four_states_have_ended() -> None:
    assert {s for s in State if s.ended} == {State.STOPPED, State.SUCCEEDED, State.FAILED, State.CANCELLED}
