"""`gpuyard cancel`: stops a run and all its processes."""

from __future__ import annotations

from . import options

__all__ = ["command"]


def command(run: options.Run, stack: options.Stack = None, targets: options.Targets = None, json: options.Json = False) -> None:
    """Cancel a run: SIGTERM, 30 s to save a checkpoint, then SIGKILL. A run that has ended keeps its state."""
    from .documents import emit
    from .targets import make_runner
    from .view import print_wait

    status = make_runner(stack, targets).cancel(run, print_wait)
    if json:
        emit(status)
    else:
        print(f"{run} {status.state}" + (f": {status.detail}" if status.detail else ""))
