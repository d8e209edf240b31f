"""The exit codes of a node: the copies in launch equal the table in state.py, and the first failure decides the job's."""

from __future__ import annotations

from gpuyard.training_jobs import state
from gpuyard.training_jobs.launch import hook, node_exit
from gpuyard.training_jobs.launch.agent_state import FINAL_CODES, AgentState
from gpuyard.training_jobs.launch.node import job_result
from gpuyard.training_jobs.train import loop as train_loop


def test_the_hooks_exit_codes_equal_the_table_in_state() -> None:
    assert (hook.DONE, hook.BAD_CONFIG, hook.FABRIC, hook.RESUMABLE) == (
        state.JOB_DONE,
        state.JOB_BAD_CONFIG,
        state.JOB_FABRIC,
        state.JOB_RESUMABLE,
    )
    assert FINAL_CODES == (64, 69, 75)
    assert state.JOB_IO_ERROR == node_exit.IO_ERROR == train_loop.IO_ERROR


def _result(phase: str, at: float, code: int) -> AgentState:
    return AgentState(phase, 0, at, code)


def test_the_first_failure_is_the_jobs_result() -> None:
    done, first, later = _result("ended", 1, 0), _result("ended", 5, 7), _result("ended", 6, 1)
    interrupted, final, resumable = _result("interrupted", 2, 75), _result("ended", 9, 64), _result("ended", 4, 75)
    assert job_result([done, done]).code == 0
    assert job_result([later, first, done]) is first
    assert job_result([interrupted, later]) is later
    assert job_result([interrupted, done]) is interrupted
    assert job_result([first, final]) is final
    assert job_result([resumable, done]) is resumable
