"""The exit codes of a node: the copies in launch equal the table in state.py, and the first failure decides the job's."""

from __future__ import annotations

from gpuyard.training_jobs import state
from gpuyard.training_jobs.launch import hook
from gpuyard.training_jobs.launch.agent_state import FINAL, AgentState
from gpuyard.training_jobs.launch.node import verdict


def test_the_copies_of_the_exit_codes_are_the_tables() -> None:
    assert (hook.DONE, hook.BAD_CONFIG, hook.FABRIC, hook.RESUMABLE) == (
        state.JOB_DONE,
        state.JOB_BAD_CONFIG,
        state.JOB_FABRIC,
        state.JOB_RESUMABLE,
    )
    assert FINAL == (64, 69, 75)


def _ending(phase: str, at: float, code: int) -> AgentState:
    return AgentState(phase, 0, at, code)


def test_the_first_failure_speaks_for_the_job() -> None:
    done, first, later = _ending("ended", 1, 0), _ending("ended", 5, 7), _ending("ended", 6, 1)
    cut, final, resumable = _ending("cut", 2, 75), _ending("ended", 9, 64), _ending("ended", 4, 75)
    assert verdict([done, done]).code == 0
    assert verdict([later, first, done]) is first
    assert verdict([cut, later]) is later
    assert verdict([cut, done]) is cut
    assert verdict([first, final]) is final
    assert verdict([resumable, done]) is resumable
