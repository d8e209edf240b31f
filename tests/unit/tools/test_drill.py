"""The drill: when it kills, which process it kills, and how it detects the recovery."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tools import drill


def _status(step: int | None, restarts: int = 0, state: str = "RUNNING", lost: int | None = 0) -> dict[str, Any]:
    return {"state": state, "metrics": {"step": step, "steps": 400, "lost_steps": lost}, "attempts": [{"restarts": restarts}]}


@pytest.mark.parametrize(("step", "due"), [(None, False), (100, False), (160, True), (300, True), (301, False)])
def test_the_drill_is_due_in_the_middle(step: int | None, due: bool) -> None:
    assert drill.due(_status(step)) is due


def test_the_drill_is_not_due_while_the_run_recovers() -> None:
    assert not drill.due(_status(200, state="RECOVERING"))


def test_a_recovery_is_a_restart_and_a_step_reported_after_it() -> None:
    killed = drill.Kill(restarts=0, lost_steps=2, at=time.monotonic() - 3)
    assert drill.recovered(killed, _status(181)) is None
    assert drill.recovered(killed, _status(180, restarts=1, state="RECOVERING")) is None
    assert drill.recovered(killed, _status(176, restarts=1, lost=7)) == "training again in 3.0 s at step 176 (steps redone: 5)"
    assert drill.recovered(killed, _status(176, restarts=1, lost=None)) == "training again in 3.0 s at step 176"


def test_the_drill_kills_the_worker_of_its_rank_but_none_of_its_children() -> None:
    sleep = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    started = {
        (run, rank): subprocess.Popen(
            [sys.executable, "-c", sleep], stdin=subprocess.PIPE, env={**os.environ, "GPUYARD_RUN_ID": run, "RANK": str(rank)}
        )
        for run, rank in [("mine-1", 3), ("mine-1", 30), ("other-1", 3)]
    }
    try:
        assert drill.worker("mine-1", 2) is None
        killed = drill.kill("mine-1", 3, _status(180))
        assert killed is not None
        assert killed.restarts == 0
        assert started["mine-1", 3].wait(timeout=10) == -signal.SIGKILL
        assert started["mine-1", 30].poll() is None
        assert started["other-1", 3].poll() is None
    finally:
        for process in started.values():
            process.communicate()


def test_ps_is_read_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen(
        ["sh", "-c", "read x"], stdin=subprocess.PIPE, env={"GPUYARD_RUN_ID": "ps-1", "RANK": "3", "PATH": os.environ["PATH"]}
    )
    try:
        monkeypatch.setattr(drill, "_PROC", Path("/nowhere"))
        assert drill.worker("ps-1", 3) == process.pid
    finally:
        process.communicate()
