"""Suggest fixes for a job file of another tool: gpuyard's key for its key, and a list for a command in one text (docs/migrate.md)."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from types import MappingProxyType

from ..problems import Problem, show
from .secret_rule import arguments_hold_secret

__all__ = ["KEYS", "text_for_list", "with_own_keys"]

_PAGE = "docs/migrate.md"
# SkyPilot's keys: docs.skypilot.co/en/latest/reference/yaml-spec.html. dstack's: its reference of .dstack.yml (type: task). Both read 2026.
KEYS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "resources": ("SkyPilot", "gpus: H100:8 checks the GPUs; pool: NAME or --pool chooses the machines"),
        "num_nodes": ("SkyPilot", "nodes: N"),
        "workdir": ("SkyPilot", "code: FOLDER"),
        "run": ("SkyPilot", "command: [train.py, ...]"),
        "envs": ("SkyPilot", "env: {NAME: value}"),
        "file_mounts": ("SkyPilot", "data: {name: {url: URL, mount: copy}}; code: FOLDER sends files of this machine"),
        "volumes": ("SkyPilot", "data: {name: URL}"),
        "accelerators": ("SkyPilot", "gpus: H100:8"),
        "commands": ("dstack", "command: [train.py, ...]"),
        "retry": ("dstack", "retries: {preempted: N, infra: N}"),
        "max_duration": ("dstack", "timeout: 12h"),
        "max_price": ("dstack", "max_cost_usd: N, the cost of the whole run"),
        "spot_policy": ("dstack", "the pool decides: capacity: spot in the stack file"),
    }
)
"""Top-level key of another tool's job file -> the tool's name, and what to write in gpuyard instead."""
_SHELL = re.compile(r"[;&|<>$`\n*?]")
_PLAIN = re.compile(r"[A-Za-z0-9_./=-]+")


def with_own_keys(problems: Iterable[Problem]) -> list[Problem]:
    """Set a better fix for each unknown key that is a key of another tool. Other problems stay unchanged."""
    return [_with_own_key(problem) for problem in problems]


def _with_own_key(problem: Problem) -> Problem:
    if problem.what != "unknown key" or problem.key not in KEYS:
        return problem
    tool, way = KEYS[problem.key]
    return replace(problem, what=f"a key of {tool}, not of gpuyard", allowed=None, fix=f"in gpuyard: {way} ({_PAGE})")


def text_for_list(field: str, text: str) -> Problem:
    """Return the problem of a `command` or `setup` that is one text. Its fix is the list to write instead."""
    if arguments_hold_secret([text]):
        return Problem("", "text, not a list of arguments", "(secret)", fix="write a list, and pass the secret with secrets:")
    words = _words(text)
    if words is None:
        lines = f"[bash, -c, {json.dumps(text.strip())}]"
        fix = f"a shell runs only if you name it: {f'launcher: none and command: {lines}' if field == 'command' else f'setup: {lines}'}"
    else:
        if field == "command" and (other := _fix_of_start(words)) is not None:
            return Problem("", "text, not a list of arguments", show(text), fix=other)
        if field == "command" and re.fullmatch(r"python(3(\.\d+)?)?", words[0]) and len(words) > 1:
            words = words[1:]  # torchrun starts Python
        fix = f"write {field}: [{', '.join(word if _PLAIN.fullmatch(word) else json.dumps(word) for word in words)}]"
    return Problem("", "text, not a list of arguments", show(text), fix=fix)


def _fix_of_start(words: Sequence[str]) -> str | None:
    """Return the fix for a command that begins with variables or with torchrun; None for any other command."""
    if "=" in words[0] and not words[0].startswith("-"):
        pairs = list(itertools.takewhile(lambda word: "=" in word and not word.startswith("-"), words))
        env = ", ".join(f"{name}: {json.dumps(value)}" for name, _, value in (pair.partition("=") for pair in pairs))
        return f"write env: {{{env}}}, and a list in command: for what follows"
    if PurePath(words[0]).name == "torchrun":
        return "gpuyard starts torchrun with its options: write command: [SCRIPT, ARGUMENTS...] without torchrun, and nodes: and gpus:"
    return None


def _words(text: str) -> list[str] | None:
    """Return the arguments in a text; None if only a shell can read it."""
    if _SHELL.search(text.strip()):
        return None
    try:
        return shlex.split(text) or None
    except ValueError:
        return None
