"""The examples in docstrings are correct."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).resolve().parents[2]
_ROOMS = {"components": "gpuyard.components", "stacks": "gpuyard.stacks", "training_jobs": "gpuyard.training_jobs", "tools": "tools"}


def _modules() -> list[str]:
    return [
        ".".join([package, *path.relative_to(_CHECKOUT / room).with_suffix("").parts]).removesuffix(".__init__")
        for room, package in _ROOMS.items()
        for path in sorted((_CHECKOUT / room).rglob("*.py"))
        if ">>> " in path.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("module", _modules())
def test_examples_of_a_module(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert (found.failed, found.attempted > 0) == (0, True)
