"""A stop request: one deadline, robust against clock changes, and how workers see it through the hook."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gpuyard.training_jobs.launch import hook
from gpuyard.training_jobs.launch.preemption.stop_request import StopRequest


def test_a_second_stop_request_does_not_extend_the_first(tmp_path: Path) -> None:
    stop_request = StopRequest(tmp_path / "stop", grace_s=30)
    (tmp_path / "listens").touch()
    assert not stop_request.requested
    stop_request.request()
    left = stop_request.kill_grace_s
    stop_request.request()
    assert stop_request.requested
    assert (tmp_path / "stop").exists()
    assert not stop_request.overdue
    assert stop_request.kill_grace_s <= left <= 29


def test_the_seconds_left_are_bounded_only_shrink_and_reach_the_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    stop_request = StopRequest(tmp_path / "stop", grace_s=30)
    assert hook.seconds_left() is None
    (tmp_path / "stop").touch()  # on a full disk the file is empty
    assert hook.seconds_left() == 30
    for given_s, left_s in ((3600, 600), (120, 120), (500, 120), (None, 30), (0, 2)):
        stop_request.request(given_s)
        assert stop_request.seconds_left == pytest.approx(left_s, abs=1)
        assert hook.seconds_left() == pytest.approx(left_s, abs=1)
    monkeypatch.delenv("GPUYARD_STOP_FILE")
    assert hook.seconds_left() is None


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_setting_the_clock_does_not_change_the_seconds_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float) -> None:
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    stop_request = StopRequest(tmp_path / "stop", grace_s=30)
    stop_request.request()
    clock = time.time
    monkeypatch.setattr("time.time", lambda: clock() + jump_s)
    assert hook.seconds_left() == pytest.approx(30, abs=2)
    assert stop_request.seconds_left == pytest.approx(30, abs=2)


def test_workers_that_do_not_poll_the_hook_get_sigterm_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_request = StopRequest(tmp_path / "stop", grace_s=30)
    assert not stop_request.overdue
    stop_request.request()
    assert stop_request.overdue
    assert stop_request.kill_grace_s > 28
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    monkeypatch.setattr(hook, "_state", {})
    assert hook.stop_asked()
    assert not stop_request.overdue  # it polls the hook, so it may save and exit by itself
