"""A stop request: one deadline, robust against clock changes, and how workers see it through the hook."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gpuyard.training_jobs.launch import hook
from gpuyard.training_jobs.launch.preemption.stop_request import Notice


def test_a_stop_asked_twice_starts_one_clock(tmp_path: Path) -> None:
    notice = Notice(tmp_path / "stop", grace_s=30)
    (tmp_path / "listens").touch()
    assert not notice.asked
    notice.ask()
    left = notice.left_s
    notice.ask()
    assert notice.asked
    assert (tmp_path / "stop").exists()
    assert not notice.overdue
    assert notice.left_s <= left <= 29


def test_a_stop_gives_seconds_within_bounds_that_only_shrink_and_the_hook_tells_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    notice = Notice(tmp_path / "stop", grace_s=30)
    assert hook.seconds_left() is None
    (tmp_path / "stop").touch()  # a full disk holds the file and not the number
    assert hook.seconds_left() == 30
    for given_s, left_s in ((3600, 600), (120, 120), (500, 120), (None, 30), (0, 2)):
        notice.ask(given_s)
        assert notice.given_s == pytest.approx(left_s, abs=1)
        assert hook.seconds_left() == pytest.approx(left_s, abs=1)
    monkeypatch.delenv("GPUYARD_STOP_FILE")
    assert hook.seconds_left() is None


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_clock_that_is_set_changes_nothing_of_the_seconds_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float) -> None:
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    notice = Notice(tmp_path / "stop", grace_s=30)
    notice.ask()
    clock = time.time
    monkeypatch.setattr("time.time", lambda: clock() + jump_s)
    assert hook.seconds_left() == pytest.approx(30, abs=2)
    assert notice.given_s == pytest.approx(30, abs=2)


def test_who_never_asks_the_hook_gets_sigterm_at_once_and_the_whole_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notice = Notice(tmp_path / "stop", grace_s=30)
    assert not notice.overdue
    notice.ask()
    assert notice.overdue
    assert notice.left_s > 28
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    monkeypatch.setattr(hook, "_state", {})
    assert hook.stop_asked()
    assert not notice.overdue  # it listens: it may save and leave by itself
