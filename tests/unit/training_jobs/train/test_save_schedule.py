"""When a save is due, and what saves cost the loop."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gpuyard.training_jobs.train.save_schedule import SaveSchedule


class _Saver:
    def __init__(self) -> None:
        self.writing: int | None = None
        self.blocked_s, self.waited_s = [0.5], 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    time = SimpleNamespace(now=0.0)
    monkeypatch.setattr("gpuyard.training_jobs.train.save_schedule.time", SimpleNamespace(monotonic=lambda: time.now))
    return time


def test_a_save_longer_than_every_puts_the_next_one_off_and_is_printed_once(clock: SimpleNamespace) -> None:
    saver, printed = _Saver(), list[str]()
    schedule = SaveSchedule(60, saver, printed.append)
    clock.now = 61
    assert [schedule.vote(), schedule.vote()] == [True, False]
    schedule.saved(10)
    saver.writing, clock.now = 10, 130
    assert [schedule.vote(), schedule.vote()] == [False, False]
    assert printed == ["the save of step 10 takes longer than checkpoint.every (60 s); the next save waits for it"]
    saver.writing = None
    assert schedule.vote()


def test_a_loop_that_waits_for_the_save_before_says_so(clock: SimpleNamespace) -> None:
    saver, printed = _Saver(), list[str]()
    saver.waited_s = 12.3
    SaveSchedule(60, saver, printed.append).saved(20)
    assert printed == ["step 20: training waited 12.3 s for the previous save; fix: save less often"]


def test_steps_that_a_save_slows_down_count_as_its_stall(clock: SimpleNamespace) -> None:
    saver = _Saver()
    schedule = SaveSchedule(60, saver, print)

    def step(seconds: float) -> None:
        with schedule.timing_step():
            clock.now += seconds

    for _ in range(3):
        step(1.0)
    schedule.saved(3)
    saver.writing = 3
    step(3.5)
    step(1.0)
    saver.writing = None
    step(9.0)  # slow for another reason
    assert schedule.stall_s == [0.5 + 2.5]
