"""`gpuyard status`: shows the state of a run and of each attempt."""

from __future__ import annotations

from . import options

__all__ = ["command"]


def command(run: options.Run, stack: options.Stack = None, targets: options.Targets = None, json: options.Json = False) -> None:
    """Show a run: its state, every attempt, metrics and cost. Exits 0 in every state of the run."""
    from .documents import emit
    from .targets import make_runner
    from .view import summary

    status = make_runner(stack, targets).status(run)
    if json:
        emit(status)
    else:
        print(summary(status))
