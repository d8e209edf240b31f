"""Plan the trials of a sweep: every combination of parameters, or random ones. Pure functions: a repeated sweep has the same trials."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..plain_data import PlainDict, PlainMapping
from ..problems import Problem
from .errors import UsageError
from .overrides import apply_settings, with_argument
from .spec import JobSpec

__all__ = [
    "LEARNING",
    "Parameter",
    "Trial",
    "check_sweep",
    "combinations",
    "corner_trials",
    "grid_trials",
    "parse_parameter",
    "random_trials",
    "trial_job",
]

LEARNING = ("tpe", "gp")
"""Samplers that choose the values of a trial from the results of earlier trials (samplers.py)."""

_RANGE = re.compile(r"(?P<low>[-+0-9.eE]+)\.\.(?P<high>[-+0-9.eE]+)(?P<log>:log)?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_MOST = 1000
_FORM = "NAME=A,B,C, NAME=LOW..HIGH or NAME=LOW..HIGH:log"


@dataclass(frozen=True)
class Parameter:
    """A parameter: its values, or its range from `low` to `high`. A range without `values` is for random trials."""

    name: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    """True if both ends of the range are whole numbers. Then every value is a whole number too."""

    def text(self, value: float) -> str:
        """Convert a number of the range to the text in the job. It has four digits, or more in a very narrow range."""
        low, high = self.low, self.high
        if self.whole:
            return str(min(max(round(value), int(low)), int(high)))
        short = float(f"{value:.4g}")
        return f"{short:.4g}" if low <= short <= high and high - low > 1e-3 * max(abs(low), abs(high)) else repr(min(max(value, low), high))


@dataclass(frozen=True)
class Trial:
    """One job of a sweep. `values`: parameter -> its value in this trial."""

    number: int
    values: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Twelve characters that depend only on the values. So a sweep of more trials adopts the runs of an earlier, shorter sweep."""
        return hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()[:12]


def parse_parameter(text: str) -> Parameter:
    """Return the parameter in `NAME=VALUES`. Raises UsageError for another form."""
    name, equals, given = text.partition("=")
    if name and equals and given:
        found = _RANGE.fullmatch(given)
        if found is None:
            values = tuple(value.strip() for value in given.split(","))
            if all(values) and len(set(values)) == len(values):
                return Parameter(name, values)
        elif (parameter := _range(name, found)) is not None:
            return parameter
    raise UsageError("the sweep has no plan", [Problem("--param", "needs a name, and a range or different values", text, _FORM)])


def _range(name: str, found: re.Match[str]) -> Parameter | None:
    try:
        low, high = float(found["low"]), float(found["high"])
    except ValueError:
        return None
    if not (math.isfinite(low) and math.isfinite(high - low) and low < high) or (found["log"] and low <= 0):
        return None
    whole = all(re.fullmatch(r"[-+]?[0-9]+", found[end]) for end in ("low", "high"))
    return Parameter(name, (), low, high, bool(found["log"]), whole)


def check_sweep(key: str, parameters: Sequence[Parameter], *, trials: int | None, sampler: str | None = None) -> None:
    """Check a sweep before any trial is submitted. `trials`: the number of sampled trials; None: a grid. Raises UsageError."""
    problems = _sampler_problems(parameters, trials, sampler)
    if not _NAME.fullmatch(key):
        problems.append(Problem("--key", "not a name for a sweep", repr(key), "a-z, 0-9 and -, at most 40 characters"))
    names = [parameter.name for parameter in parameters]
    if not names:
        problems.append(Problem("--param", "required", allowed=_FORM))
    problems += [Problem("--param", "given twice", name) for name in sorted({name for name in names if names.count(name) > 1})]
    problems += [
        Problem(f"--param {name}", "not a name of an option or a path", name, "a name without --, such as lr, or a path such as env.LR")
        for name in names
        if name.startswith("-") or any(letter.isspace() for letter in name)
    ]
    if "code" in names:
        problems.append(Problem("--param code", "all trials have the same code", fix="pass the difference as an option or a variable"))
    if trials is None:
        fix = "list its values, or add --trials N for random ones"
        problems += [
            Problem(f"--param {each.name}", "a grid needs single values, not a range", fix=fix) for each in parameters if not each.values
        ]
        count = math.prod(len(parameter.values) for parameter in parameters)
        if count > _MOST:
            problems.append(
                Problem("--param", "too many combinations", str(count), f"at most {_MOST}", "add --trials N for N random trials")
            )
    if problems:
        raise UsageError("the sweep has no plan", problems)


def _sampler_problems(parameters: Sequence[Parameter], trials: int | None, sampler: str | None) -> list[Problem]:
    if sampler not in (None, "random", *LEARNING):
        return [Problem("--sampler", "unknown sampler", sampler, ", ".join(("random", *LEARNING)))]
    problems = []
    if sampler is not None and trials is None:
        problems.append(Problem("--trials", "required with --sampler", fix="add --trials N, the number of trials"))
    if sampler in LEARNING:
        for name in sorted({each.name for each in parameters} & {"name", "pool"}):
            fix = f"use --set {name}=VALUE, or list its values without --sampler"
            problems.append(Problem(f"--param {name}", f"a sampler that learns needs one {name} for all trials", fix=fix))
    return problems


def combinations(parameters: Sequence[Parameter]) -> int | None:
    """Return the number of different trials. None if a range is not limited to whole numbers."""
    if any(not each.values and not each.whole for each in parameters):
        return None
    return math.prod(len(each.values) or int(each.high) - int(each.low) + 1 for each in parameters)


def corner_trials(parameters: Sequence[Parameter]) -> list[Trial]:
    """Return trials that together have each listed value and both ends of each range, to check them before the sweep starts."""
    ends = {each.name: each.values or (each.text(each.low), each.text(each.high)) for each in parameters}
    most = max(len(values) for values in ends.values())
    return [Trial(number + 1, {name: values[number % len(values)] for name, values in ends.items()}) for number in range(most)]


def grid_trials(parameters: Sequence[Parameter]) -> list[Trial]:
    """Return one trial for each combination of values. The last parameter changes fastest."""
    names = [parameter.name for parameter in parameters]
    combinations = itertools.product(*(parameter.values for parameter in parameters))
    return [Trial(number, dict(zip(names, values, strict=True))) for number, values in enumerate(combinations, 1)]


def random_trials(parameters: Sequence[Parameter], count: int, seed: int) -> list[Trial]:
    """Return `count` different random trials; fewer if there are not as many combinations. A larger `count` begins with the same trials."""
    source, found = random.Random(seed), dict[str, Trial]()  # noqa: S311 no secret
    for _ in range(20 * count):
        if len(found) == count:
            break
        trial = Trial(len(found) + 1, {parameter.name: _draw(parameter, source) for parameter in parameters})
        found.setdefault(trial.digest, trial)
    return list(found.values())


def _draw(parameter: Parameter, source: random.Random) -> str:
    if parameter.values:
        return source.choice(parameter.values)
    low, high = parameter.low, parameter.high
    return parameter.text(math.exp(source.uniform(math.log(low), math.log(high))) if parameter.log else source.uniform(low, high))


def trial_job(job: PlainMapping, key: str, trial: Trial) -> PlainDict:
    """Return the job file's content for a trial: its values, and the label `sweep`.

    A name with `.` or `[`, or a key of the job file, is a path as in `--set`. Any other name is an option `--name=value` of the command.
    """
    paths = [(name, value) for name, value in trial.values.items() if _is_path(name)]
    changed = apply_settings(job, [*paths, ("labels.sweep", key)], "--param")
    command = changed.get("command")
    for name, value in trial.values.items():
        if not _is_path(name) and isinstance(command, list):
            command = with_argument(command, name, value)
    return {**changed, "command": command}


def _is_path(name: str) -> bool:
    return "." in name or "[" in name or name in JobSpec.model_fields
