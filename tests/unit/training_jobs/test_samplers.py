"""Optuna's samplers and pruner on results: no run is needed."""

from __future__ import annotations

import math
import sys

import pytest

from gpuyard.training_jobs.comparison import Goal
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.samplers import TrialResult, is_behind, propose_trial, require_optuna
from gpuyard.training_jobs.sweep import Trial, combinations, corner_trials, parse_parameter

pytest.importorskip("optuna")
PARAMETERS = [parse_parameter("lr=1e-5..1e-1:log"), parse_parameter("layers=2..9"), parse_parameter("act=relu,gelu")]


def objective(trial: Trial) -> float:
    distance = (math.log10(float(trial.values["lr"])) + 3) ** 2 + (int(trial.values["layers"]) - 6) ** 2 / 10
    return distance + (trial.values["act"] == "relu")


@pytest.mark.parametrize(("sampler", "count", "goal"), [("tpe", 30, "min"), ("tpe", 30, "max"), ("gp", 12, "min")])
def test_a_sampler_finds_better_values_than_its_first_random_ones(sampler: str, count: int, goal: Goal) -> None:
    require_optuna(sampler)
    sign = 1 if goal == "min" else -1
    results: list[TrialResult] = []
    for number in range(1, count + 1):
        trial = propose_trial(PARAMETERS, results, number, sampler=sampler, seed=0, goal=goal)
        assert 1e-5 <= float(trial.values["lr"]) <= 1e-1
        assert trial.values["layers"] in set("23456789")
        assert trial.values["act"] in {"relu", "gelu"}
        results.append(TrialResult(trial, "complete", sign * objective(trial)))
    values = [sign * (result.value or 0) for result in results]
    assert min(values[10:]) < min(values[:10])


def test_no_values_are_proposed_twice_while_others_are_left() -> None:
    parameters = [parse_parameter("a=1,2,3"), parse_parameter("b=1..2")]
    assert combinations(parameters) == 6
    results: list[TrialResult] = []
    for number in range(1, 7):
        trial = propose_trial(parameters, results, number, sampler="tpe", seed=0, goal="min")
        results.append(TrialResult(trial, "complete", 1.0) if number % 2 else TrialResult(trial, "running"))
    assert len({result.trial.digest for result in results}) == 6


def test_trials_without_a_value_count_as_the_worst() -> None:
    """Every lr above 1e-3 diverged: the sampler must avoid them although no trial there has a value."""
    results = []
    for number in range(1, 21):
        exponent = -5 + 4 * number / 20
        trial = Trial(number, {"lr": f"{10**exponent:.3g}"})
        results.append(TrialResult(trial, "worst") if exponent > -3 else TrialResult(trial, "complete", 1.0))
    parameters = [parse_parameter("lr=1e-5..1e-1:log")]
    proposed = [propose_trial(parameters, results, 21 + each, sampler="tpe", seed=0, goal="min") for each in range(20)]
    assert sum(float(trial.values["lr"]) <= 1.1e-3 for trial in proposed) >= 16


OTHERS = [TrialResult(Trial(n, {"lr": str(n)}), "complete", 1.0, [(10, 3.0 + n), (20, 1.0 + n)]) for n in range(5)]  # medians 5, 3


@pytest.mark.parametrize(
    ("curve", "after", "goal", "behind"),
    [
        ([], 0, "min", False),
        ([(10, 5.5)], 0, "min", True),
        ([(10, 5.5)], 11, "min", False),
        ([(10, 4.5)], 0, "min", False),
        ([(10, 5.5)], 0, "max", False),
        ([(10, 4.5)], 0, "max", True),
        ([(5, 9.0)], 0, "min", False),
        ([(15, 5.5)], 0, "min", True),
        ([(10, 4.0), (20, 6.0)], 0, "min", True),
        ([(10, 2.0), (20, 6.0)], 0, "min", False),
    ],
    ids=["none", "worse", "early", "better", "lower", "worse-max", "nobody-there", "between", "stuck", "best-counts"],
)
def test_a_trial_is_compared_with_the_median_at_its_step(curve: list[tuple[float, float]], after: int, goal: Goal, behind: bool) -> None:
    assert is_behind(curve, OTHERS, after=after, goal=goal) is behind
    assert not is_behind(curve, OTHERS[:4], after=after, goal=goal), "fewer than five trials prune nothing"


def test_a_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    for sampler, option in (("tpe", "--sampler tpe"), (None, "--prune-after")):
        with pytest.raises(UsageError) as caught:
            require_optuna(sampler)
        assert f"{option}: a package is not installed" in str(caught.value)
        assert "pip install 'gpuyard[sweep]'" in str(caught.value)


def test_corners_have_each_value_and_both_ends() -> None:
    trials = corner_trials([parse_parameter("lr=1e-5..1e-1:log"), parse_parameter("n=1..4"), parse_parameter("act=a,b,c")])
    assert [trial.values for trial in trials] == [
        {"lr": "1e-05", "n": "1", "act": "a"}, {"lr": "0.1", "n": "4", "act": "b"}, {"lr": "1e-05", "n": "1", "act": "c"},
    ]  # fmt: skip
