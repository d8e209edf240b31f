"""Submits distributed PyTorch jobs to the pools a stack provisioned, and watches them.

Importing this package loads nothing heavy: names are resolved when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import GpuyardError, UsageError
    from .runner import Runner, Submitted
    from .spec import JobSpec, load_job
    from .state import Exit, Reason, State
    from .status import RunStatus
    from .target import JobTarget, parse_target, parse_targets

_HOME = {
    "Exit": "state",
    "GpuyardError": "errors",
    "JobSpec": "spec",
    "JobTarget": "target",
    "Reason": "state",
    "RunStatus": "status",
    "Runner": "runner",
    "State": "state",
    "Submitted": "runner",
    "UsageError": "errors",
    "load_job": "spec",
    "parse_target": "target",
    "parse_targets": "target",
}

__all__ = [
    "Exit",
    "GpuyardError",
    "JobSpec",
    "JobTarget",
    "Reason",
    "RunStatus",
    "Runner",
    "State",
    "Submitted",
    "UsageError",
    "load_job",
    "parse_target",
    "parse_targets",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
