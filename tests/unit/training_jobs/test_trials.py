"""The trials of a sweep in threads: how many at once, and what an error of one does to the others."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import parse_job
from gpuyard.training_jobs.state import State
from gpuyard.training_jobs.sweep import Trial
from gpuyard.training_jobs.trials import Stop, StoppedError, TrialJob, run_trials

JOBS = [
    TrialJob(Trial(number, {"lr": str(number)}), parse_job({"name": f"t{number}", "command": ["t.py"]}), f"tune/{number}")
    for number in range(6)
]


class Trials:
    """Six trials."""

    count = 6

    def job(self, number: int) -> TrialJob:
        return JOBS[number - 1]


class Runs:
    """Stands in for a Runner: a trial ends when the test lets it."""

    def __init__(self, stop: Stop, fail: str = "") -> None:
        self.stop, self.fail = stop, fail
        self.keys: list[str] = []
        self.at_once = self.most = 0
        self.lock = threading.Lock()

    def submit(self, spec: Any, _: object, *, key: str, **__: object) -> Any:
        with self.lock:
            self.keys.append(key)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        if spec.name == self.fail:
            raise UsageError("no capacity for this one")
        return SimpleNamespace(status=SimpleNamespace(run_id=spec.name, state=State.PENDING))

    def wait(self, run: str, _: object) -> Any:
        self.stop.sleep(30 if self.fail else 0.02)
        with self.lock:
            self.at_once -= 1
        return run


def test_no_more_trials_run_at_once_than_wanted_and_each_has_its_own_key() -> None:
    runs = Runs(stop := Stop())
    ended = run_trials(cast(Runner, runs), Trials(), None, at_once=2, stop=stop)
    assert [(job, str(status)) for job, status in ended] == [(job, job.spec.name) for job in JOBS]
    assert runs.most == 2
    assert sorted(runs.keys) == sorted(job.key for job in JOBS)


def test_a_trial_whose_values_are_chosen_during_an_interrupt_does_not_start() -> None:
    runs = Runs(stop := Stop())

    class Slow(Trials):
        def job(self, number: int) -> TrialJob:
            stop.set()
            return super().job(number)

    with pytest.raises(StoppedError):
        run_trials(cast(Runner, runs), Slow(), None, at_once=2, stop=stop)
    assert runs.keys == []


def test_an_error_of_one_trial_ends_the_waiting_for_the_others() -> None:
    runs = Runs(stop := Stop(), fail="t1")
    with pytest.raises(UsageError, match="no capacity"):
        run_trials(cast(Runner, runs), Trials(), None, at_once=2, stop=stop)
    assert len(runs.keys) <= 3, "a trial started after the error"
