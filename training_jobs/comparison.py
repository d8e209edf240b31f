"""Compare runs: the options in which their commands differ, a metric of each, and the best run. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from ..problems import Problem
from .errors import UsageError
from .overrides import is_value
from .spec import JobSpec
from .state import State
from .status import RunStatus

__all__ = ["Goal", "best", "metric_of", "parse_goal", "usual_metric", "varying_options", "varying_values"]

Goal = Literal["min", "max"]
_NOT_COMPARED: dict[str, bool | set[str]] = {"name": True, "code": True, "command": True, "labels": {"sweep"}}


def parse_goal(text: str) -> Goal:
    """Return `min` or `max`. Raises UsageError for another text."""
    if text not in ("min", "max"):
        raise UsageError("the runs cannot be compared", [Problem("--goal", "unknown goal", text, "min, max")])
    return "min" if text == "min" else "max"


def metric_of(status: RunStatus, name: str) -> float | None:
    """Return a reported metric of a run; None if the run has not reported it as a number. A diverged run may have NaN."""
    value = getattr(status.metrics, name, None) if name != "other" else None
    value = status.metrics.other.get(name) if value is None else value
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def usual_metric(statuses: Sequence[RunStatus]) -> str:
    """Return the metric to compare if the user names none: the validation loss if a run reports it, else the loss."""
    return "val_loss" if any(status.metrics.val_loss is not None for status in statuses) else "loss"


def best(statuses: Sequence[RunStatus], metric: str, goal: Goal) -> RunStatus | None:
    """Return the succeeded run with the lowest (min) or highest (max) finite metric; of equal runs, the first. None without such a run."""
    ended = [(metric_of(status, metric), status) for status in statuses if status.state is State.SUCCEEDED]
    found = [(value, status) for value, status in ended if value is not None and math.isfinite(value)]
    if not found:
        return None
    choose = min if goal == "min" else max
    return choose(found, key=lambda pair: pair[0])[1]


def varying_options(commands: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Return, for each run id, the options `--name=value` or `--name value` of its command that are not the same in all commands."""
    options = {run: _options(command) for run, command in commands.items()}
    names = list(dict.fromkeys(name for found in options.values() for name in found))
    varying = [name for name in names if len({found.get(name) for found in options.values()}) > 1]
    return {run: {name: found[name] for name in varying if name in found} for run, found in options.items()}


def varying_values(specs: Mapping[str, JobSpec]) -> dict[str, dict[str, str]]:
    """Return, for each run id, the values of its job that are not the same in all jobs: options of the command, then settings.

    A setting has its path in the job file, such as `env.LR`. Neither `name`, `code` nor the label `sweep` is compared.
    """
    found = varying_options({run: spec.command for run, spec in specs.items()})
    settings = {run: dict(_settings(spec.model_dump(mode="json", exclude=_NOT_COMPARED))) for run, spec in specs.items()}
    names = dict.fromkeys(name for each in settings.values() for name in each)
    varying = [name for name in names if len({each.get(name) for each in settings.values()}) > 1]
    return {run: {name: settings[run][name] for name in varying if name in settings[run]} | found[run] for run in specs}


def _settings(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and text of each value of a job that is neither empty nor a container."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _settings(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _settings(each, f"{path}[{index}]")
    elif value is not None:
        yield path, str(value)


def _options(command: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for index, argument in enumerate(command):
        name, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and name:
            following = command[index + 1] if index + 1 < len(command) else ""
            found[name] = value if equals else following if is_value(following) else ""
        elif "=" in argument and not argument.startswith("-"):
            found[argument.partition("=")[0]] = argument.partition("=")[2]  # name=value, as gpuyard's own trainer takes it
    return found
