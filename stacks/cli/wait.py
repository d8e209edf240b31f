"""`gpuyard wait`: wait for a run's end and return its outcome."""

from __future__ import annotations

import typer

from . import options


def command(run: options.Run, stack: options.Stack = None, targets: options.Targets = None, json: options.Json = False) -> None:
    """Wait for the end, resuming while `retries` pays for it. The exit code is the job's outcome. Ctrl-C leaves it running."""
    from gpuyard.training_jobs.state import exit_for

    from .documents import emit
    from .targets import make_runner
    from .view import follow

    status = follow(make_runner(stack, targets), run, quiet=json)
    if json:
        emit(status)
    raise typer.Exit(exit_for(status.state, status.reason))
