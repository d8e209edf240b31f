"""`gpuyard wait`: waits until a run ends; its exit code is the outcome of the job."""

from __future__ import annotations

import typer

from . import options

__all__ = ["command"]


def command(run: options.Run, stack: options.Stack = None, targets: options.Targets = None, json: options.Json = False) -> None:
    """Wait until a run ends and exit with the job's outcome. Starts new attempts as `retries` allows. Ctrl-C stops only the waiting."""
    from gpuyard.training_jobs.state import exit_for

    from .documents import emit
    from .targets import make_runner
    from .view import follow

    status = follow(make_runner(stack, targets), run, quiet=json)
    if json:
        emit(status)
    raise typer.Exit(exit_for(status.state, status.reason))
