"""Replace `${NAME}` in a job's `command` and `setup` by variables. No shell is involved. `submit` checks the names with the same rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

__all__ = ["NAMES", "data_variable", "expand", "used_variables"]

NAMES = (
    "GPUYARD_RUN_ID",
    "GPUYARD_ATTEMPT",
    "GPUYARD_OUTPUT_URL",
    "GPUYARD_CHECKPOINT_URL",
    "GPUYARD_CHECKPOINT_EVERY_S",
    "GPUYARD_CHECKPOINT_KEEP",
    "GPUYARD_NODE_RANK",
    "GPUYARD_NUM_NODES",
    "GPUYARD_MAIN_ADDRESS",
)
"""The variables of every job that an argument may use, besides those of its `data` and `env`."""
_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$\{)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})")
_SHELLS = {"sh", "bash", "dash", "zsh"}


def data_variable(name: str) -> str:
    """Return the variable of an entry of `data`.

    >>> data_variable("tokens-v2")
    'GPUYARD_DATA_TOKENS_V2'
    """
    return f"GPUYARD_DATA_{name.upper().replace('-', '_')}"


def used_variables(argv: Sequence[str]) -> list[tuple[int, str]]:
    """Return each name in `${...}`, with the index of its argument. Empty for a shell's command, because the shell reads them itself."""
    if _is_shell(argv):
        return []
    return [(index, match["name"]) for index, argument in enumerate(argv) for match in _VARIABLE.finditer(argument) if match["name"]]


def expand(argv: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Replace each `${NAME}` by its value, and `$${` by `${`. A shell's command stays as it is.

    >>> expand(["train.py", "--data=${GPUYARD_DATA_A}", "$${HOME}"], {"GPUYARD_DATA_A": "s3://b/a"})
    ['train.py', '--data=s3://b/a', '${HOME}']
    """
    if _is_shell(argv):
        return list(argv)
    return [
        _VARIABLE.sub(lambda match: "${" if match["escaped"] else variables.get(match["name"], match[0]), argument) for argument in argv
    ]


def _is_shell(argv: Sequence[str]) -> bool:
    return PurePath(argv[0]).name in _SHELLS
