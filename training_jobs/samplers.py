"""Choose the values of a trial from the results of earlier trials, and find trials to prune. Optuna decides both.

Each call builds an Optuna study from the results, which come from the journal. So a sweep keeps no database, and continues on any machine.
Only samplers that need nothing but the results are offered: CMA-ES and quasi-random samplers keep a state between trials.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..problems import Problem
from .comparison import Goal
from .errors import UsageError
from .sweep import Parameter, Trial, random_trials

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalChoiceType

__all__ = ["TrialResult", "is_behind", "propose_trial", "require_optuna"]

_DIRECTIONS: dict[Goal, Literal["minimize", "maximize"]] = {"min": "minimize", "max": "maximize"}
_TRIES = 20  # proposals of a trial before a random one is drawn, because the earlier trials have all proposed values
Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class TrialResult:
    """The outcome of a trial. `value`: its metric, if it succeeded. `curve`: its metric by step, ascending.

    Outcome `worst`: the trial was pruned, or ended without the metric. Outcome `failed`: the trial ended for a reason outside the job.
    """

    trial: Trial
    outcome: Literal["running", "complete", "worst", "failed"]
    value: float | None = None
    curve: Curve = ()


def require_optuna(sampler: str | None) -> None:
    """Raise UsageError if a package of a sampler is missing (`sampler` None: a package of the pruner). Also silences Optuna's log."""
    try:
        import optuna

        if sampler is not None:
            _sampler(sampler, 0)
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # no line for each study and each optional package
    except ImportError as error:
        packages = "scipy torch" if sampler == "gp" and error.name != "optuna" else "'gpuyard[sweep]'"
        option = "--prune-after" if sampler is None else f"--sampler {sampler}"
        problem = Problem(option, "a package is not installed", str(error).partition("\n")[0], fix=f"pip install {packages}")
        raise UsageError("the sweep cannot start", [problem]) from None


def propose_trial(
    parameters: Sequence[Parameter], results: Sequence[TrialResult], number: int, *, sampler: str, seed: int, goal: Goal
) -> Trial:
    """Return trial `number` with values that no result has, if there are such values. The same results give the same trial."""
    tried = {result.trial.digest for result in results}
    for attempt in range(_TRIES):
        drawn = int.from_bytes(hashlib.sha256(f"{seed}/{number}/{attempt}".encode()).digest()[:4], "big")
        trial = Trial(number, _ask(parameters, results, _sampler(sampler, drawn), goal))
        if trial.digest not in tried:
            return trial
    others = random_trials(parameters, len(results) + 1, seed)
    return Trial(number, next((each for each in others if each.digest not in tried), trial).values)


def is_behind(curve: Curve, succeeded: Sequence[TrialResult], *, after: int, goal: Goal) -> bool:
    """Return whether a trial's best value is worse than the median of the succeeded trials at the trial's last step.

    Return False before step `after`, and while fewer than five trials have succeeded.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    if not curve or curve[-1][0] < after:
        return False
    step = int(curve[-1][0])
    study = optuna.create_study(direction=_DIRECTIONS[goal])
    for result in succeeded:
        reached = [value for at, value in result.curve if at <= step]
        if reached:
            study.add_trial(create_trial(value=result.value, intermediate_values={step: reached[-1]}))
    own = create_trial(state=TrialState.RUNNING, intermediate_values={int(at): value for at, value in curve})
    return bool(optuna.pruners.MedianPruner().prune(study, own))


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    return optuna.samplers.TPESampler(seed=seed) if name == "tpe" else optuna.samplers.GPSampler(seed=seed)


def _ask(
    parameters: Sequence[Parameter], results: Sequence[TrialResult], sampler: optuna.samplers.BaseSampler, goal: Goal
) -> dict[str, str]:
    """Ask Optuna for the values of one more trial."""
    import optuna

    study = optuna.create_study(direction=_DIRECTIONS[goal], sampler=sampler)
    spaces = {each.name: _space(each) for each in parameters}
    study.add_trials([_frozen(result, parameters, spaces) for result in results if _fits(result.trial, parameters)])
    values = study.ask(spaces).params
    return {each.name: str(values[each.name]) if each.values else each.text(values[each.name]) for each in parameters}


def _space(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values:
        return CategoricalDistribution(parameter.values)
    if parameter.whole:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _fits(trial: Trial, parameters: Sequence[Parameter]) -> bool:
    """Return whether the trial's values are in the current ranges. An earlier call of the sweep may have had other ranges."""
    return all(_is_possible(each, trial.values[each.name]) for each in parameters)


def _is_possible(parameter: Parameter, text: str) -> bool:
    return text in parameter.values if parameter.values else parameter.low <= float(text) <= parameter.high


def _frozen(result: TrialResult, parameters: Sequence[Parameter], spaces: Mapping[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    """Convert a result to a trial of Optuna. A trial that is `worst` counts as pruned: Optuna ranks it below all others."""
    from optuna.trial import TrialState, create_trial

    values = result.trial.values
    params: dict[str, CategoricalChoiceType] = {
        each.name: values[each.name] if each.values else int(values[each.name]) if each.whole else float(values[each.name])
        for each in parameters
    }
    states = {"running": TrialState.RUNNING, "complete": TrialState.COMPLETE, "worst": TrialState.PRUNED, "failed": TrialState.FAIL}
    steps = {int(step): value for step, value in result.curve}
    return create_trial(
        state=states[result.outcome], value=result.value, params=params, distributions=dict(spaces), intermediate_values=steps
    )
