"""A sweep that learns: trials whose values depend on the results of earlier trials, and trials that are pruned."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..problems import Problem
from .comparison import Goal, metric_of, usual_metric
from .errors import UsageError
from .runner import Runner
from .samplers import Curve, TrialResult, is_behind, propose_trial
from .state import Reason, State
from .status import RunStatus
from .sweep import Parameter, Trial
from .trials import SweepFile, TrialJob

__all__ = ["Pruner", "Results", "SearchedTrials"]


class Results:
    """The results of a sweep's trials so far. Several threads use this object. `metric` None: val_loss if a trial reports it, else loss."""

    def __init__(self, metric: str | None, goal: Goal) -> None:
        self.goal = goal
        self._metric = metric
        self._trials: dict[int, Trial] = {}
        self._statuses: dict[int, RunStatus] = {}
        self._curves: dict[int, Curve] = {}
        self._lock = threading.RLock()

    @property
    def metric(self) -> str:
        """The name of the metric that compares the trials."""
        with self._lock:
            return self._metric or usual_metric(list(self._statuses.values()))

    def begin(self, trial: Trial) -> None:
        """Add a trial before its run starts."""
        with self._lock:
            self._trials[trial.number] = trial

    def update(self, trial: Trial, status: RunStatus) -> None:
        """Set the newest status of a trial."""
        with self._lock:
            self._trials[trial.number], self._statuses[trial.number] = trial, status

    def set_curve(self, trial: Trial, curve: Curve) -> None:
        """Set a trial's reported values of the metric, by step."""
        with self._lock:
            self._curves[trial.number] = curve

    def all(self) -> list[TrialResult]:
        """Return the results of all trials, ordered by trial number."""
        with self._lock:
            return [self._result(number, trial) for number, trial in sorted(self._trials.items())]

    def _result(self, number: int, trial: Trial) -> TrialResult:
        status, curve = self._statuses.get(number), self._curves.get(number, ())
        if status is None or not status.state.ended or status.state is State.STOPPED:
            return TrialResult(trial, "running", curve=curve)
        value = metric_of(status, self.metric)
        if status.state is State.SUCCEEDED and value is not None and math.isfinite(value):
            return TrialResult(trial, "complete", value, curve)
        own_fault = status.state is State.SUCCEEDED or status.reason in (Reason.PRUNED, Reason.USER_ERROR)
        return TrialResult(trial, "worst" if own_fault else "failed", curve=curve)


@dataclass(frozen=True)
class SearchedTrials:
    """Trials whose values a learning sampler chooses. A trial's request key contains its number. The journal stores its values.

    `runner` None: there are no earlier trials.
    """

    runner: Runner | None
    file: SweepFile
    key: str
    parameters: Sequence[Parameter]
    count: int
    sampler: str
    seed: int
    results: Results
    _choice: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def job(self, number: int) -> TrialJob:
        """Return the job of trial `number`. It has the values in the journal. Without them, the sampler chooses the values now.

        Raises UsageError if the recorded trial has other parameters.
        """
        with self._choice:
            request_key = f"{self.key}/{number}"
            recorded = self.runner.trial(self.file.spec, request_key) if self.runner is not None else None
            trial = self._propose(number) if recorded is None else Trial(number, self._checked(number, recorded))
            self.results.begin(trial)
            return TrialJob(trial, self.file.trial_spec(self.key, trial), request_key, chosen=recorded is None)

    def _propose(self, number: int) -> Trial:
        return propose_trial(self.parameters, self.results.all(), number, sampler=self.sampler, seed=self.seed, goal=self.results.goal)

    def _checked(self, number: int, values: dict[str, str]) -> dict[str, str]:
        names = {each.name for each in self.parameters}
        if values.keys() != names:
            has, wanted = ", ".join(sorted(values)), ", ".join(sorted(names))
            problem = Problem("--param", f"trial {number} of sweep {self.key} has other parameters", wanted, has, "use another --key")
            raise UsageError("the sweep cannot continue", [problem])
        return {each.name: values[each.name] for each in self.parameters}


class Pruner:
    """Cancels running trials that are worse than the median of the others at the same step.

    `after`: no trial is cancelled before this step.
    """

    def __init__(self, runner: Runner, results: Results, after: int) -> None:
        self._runner, self._results, self._after = runner, results, after
        self._read: dict[int, tuple[State, int | None]] = {}
        self._judged: dict[int, tuple[Curve, int]] = {}

    def update(self, trial: Trial, status: RunStatus) -> None:
        """Read the trial's curve if the trial has reported a new step or has ended.

        Cancel the trial's run if the trial is worse than the others.
        """
        number, newest = trial.number, (status.state, status.metrics.step)
        if status.metrics.step is not None and self._read.get(number) != newest:
            self._read[number] = newest
            self._results.set_curve(trial, self._runner.curve(status.run_id, self._results.metric))
        if status.state is State.RUNNING and self._is_behind(number):
            self._runner.prune(status.run_id)

    def _is_behind(self, number: int) -> bool:
        """Return whether a trial is worse than the others. False if nothing has changed since the last call."""
        results = self._results.all()
        own = next(result for result in results if result.trial.number == number)
        succeeded = [result for result in results if result.outcome == "complete"]
        if self._judged.get(number) == (own.curve, len(succeeded)):
            return False
        self._judged[number] = (own.curve, len(succeeded))
        return is_behind(own.curve, succeeded, after=self._after, goal=self._results.goal)
