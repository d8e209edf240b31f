"""`gpuyard cancel`: end a run and leave nothing alive."""

from __future__ import annotations

from . import options


def command(run: options.Run, stack: options.Stack = None, targets: options.Targets = None, json: options.Json = False) -> None:
    """End a run: SIGTERM, 30 s of grace to save, SIGKILL. A run that has ended stays as it ended."""
    from .documents import emit
    from .targets import make_runner

    status = make_runner(stack, targets).cancel(run)
    if json:
        emit(status)
    else:
        print(f"{run} {status.state}")
