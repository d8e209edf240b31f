"""`gpuyard list`: lists the runs of a stack, newest first."""

from __future__ import annotations

import sys

from . import options

__all__ = ["command"]


def command(stack: options.Stack = None, targets: options.Targets = None, json: options.Json = False) -> None:
    """List the runs of a stack, newest first."""
    from .documents import ListDocument, emit
    from .targets import make_runner
    from .view import table

    runs = make_runner(stack, targets).runs(lambda damage: print(damage, file=sys.stderr))
    if json:
        emit(ListDocument(runs=runs))
    elif runs:
        print(table(runs))
    else:
        print("no runs yet; `gpuyard submit JOB.yaml` starts one")
