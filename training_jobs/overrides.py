"""Change single values of a job file before it is validated: `--set` of submit, its extra arguments, the parameters of a sweep."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence

from ..plain_data import PlainDict, PlainMapping
from ..problems import Problem
from .errors import UsageError

__all__ = ["apply_arguments", "apply_settings", "is_value", "split_setting", "with_argument"]

_STEP = re.compile(r"\.?(?P<key>[A-Za-z_][A-Za-z0-9_-]*)|\[(?P<index>[0-9]{1,6})\]")
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_FORM = "PATH=VALUE, such as env.LR=0.2, timeout=2h or command[2]=0.2"


def split_setting(option: str, text: str) -> tuple[str, str]:
    """Return path and value of `PATH=VALUE`. Raises UsageError for another form."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError("the job cannot be changed", [Problem(option, "not a path and a value", text, _FORM)])
    return path, value


def apply_settings(job: PlainMapping, settings: Sequence[tuple[str, str]], option: str = "--set") -> PlainDict:
    """Return a copy of a job file's content with changed values. Values are text, as in a file.

    `option`: the option that messages name. Raises UsageError with every problem.
    """
    changed = copy.deepcopy(dict(job))
    problems = [problem for path, value in settings for problem in _assign(changed, path, value, option)]
    if problems:
        raise UsageError("the job cannot be changed", problems)
    return changed


def apply_arguments(job: PlainMapping, arguments: Sequence[str]) -> PlainDict:
    """Return a copy with arguments appended to `command`. Raises UsageError if the job file has no list there."""
    command = job.get("command")
    if arguments and not isinstance(command, list):
        raise UsageError("the job cannot be changed", [Problem("command", "not a list, so nothing can be appended to it")])
    return {**job, "command": [*command, *arguments]} if isinstance(command, list) else dict(job)


def with_argument(command: Sequence[str], name: str, value: str) -> list[str]:
    """Return a command with the option `name` set: in the place of that option if the command has it, else at the end.

    The option is `--name=value`, or `name=value` if the command writes its options so.

    >>> with_argument(["train.py", "--lr", "0.1", "--wd=0"], "lr", "0.2")
    ['train.py', '--lr=0.2', '--wd=0']
    >>> with_argument(["-m", "gpuyard.training_jobs.train", "steps=400"], "lr", "0.2")
    ['-m', 'gpuyard.training_jobs.train', 'steps=400', 'lr=0.2']
    """
    bare = any(_BARE.match(argument) for argument in command) and not any(argument.startswith("--") for argument in command)
    option = name if bare else f"--{name}"
    found, replaced, skip = list[str](), False, False
    for index, argument in enumerate(command):
        if skip:
            skip = False
        elif argument == f"--{name}" or argument.startswith(f"{option}="):
            found += [] if replaced else [f"{option}={value}"]
            replaced = True
            skip = argument == f"--{name}" and index + 1 < len(command) and is_value(command[index + 1])
        else:
            found.append(argument)
    return found if replaced else [*found, f"{option}={value}"]


def is_value(argument: str) -> bool:
    """Return whether an argument after an option is its value: `-0.1` is, `-v` and `--wd` are not."""
    return not argument.startswith("-") or re.match(r"-\.?[0-9]", argument) is not None


def _assign(job: PlainDict, path: str, value: str, option: str) -> list[Problem]:
    """Set one value in place. Return a problem if the job file has no such place."""
    steps = _steps(path)
    if steps is None:
        return [Problem(f"{option} {path}", "not a path", path, _FORM)]
    place: object = job
    for done, step in enumerate(steps):
        last = done == len(steps) - 1
        where = path if last else "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in steps[: done + 1]).lstrip(".")
        if isinstance(step, int):
            if not isinstance(place, list) or step >= len(place):
                has = f"0 to {len(place) - 1}" if isinstance(place, list) and place else "none, because there is no list"
                fix = "write arguments after -- to append them to command"
                return [Problem(f"{option} {path}", "no such element in the job file", where, has, fix)]
            if last:
                place[step] = value
            place = place[step]
        else:
            if not isinstance(place, dict):
                return [Problem(f"{option} {path}", "the job file has no mapping there", where, fix=f"write {_FORM}")]
            if last:
                place[step] = value
            elif place.get(step) is None:
                place[step] = {}
            place = place[step]
    return []


def _steps(path: str) -> list[str | int] | None:
    """Return the keys and indexes of a path, such as `env.LR` or `command[0]`. None if the text is no path."""
    found, position = list[str | int](), 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or (match[0].startswith(".") != bool(found) and match["key"] is not None):
            return None
        found.append(int(match["index"]) if match["index"] is not None else match["key"])
        position = match.end()
    return found if found and isinstance(found[0], str) else None
