"""`gpuyard logs`: prints the output of a run's nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options

__all__ = ["command"]


def command(
    run: options.Run,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the run ends.")] = False,
    node: Annotated[int | None, typer.Option(help="Print one node only; default: all nodes, merged by time.", show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option(help="Start: `10m` ago, or an ISO time such as 2026-11-22T03:00.", show_default=False)
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print control characters and CI commands as the nodes wrote them, not escaped.")
    ] = False,
    stack: options.Stack = None,
    targets: options.Targets = None,
) -> None:
    """Print the output of a run's newest attempt. Ctrl-C stops only the printing."""
    import contextlib
    import sys

    from .streams import unescaped
    from .targets import make_runner
    from .view import hint_on_interrupt

    start = _moment(since) if since is not None else None
    runner = make_runner(stack, targets)
    with hint_on_interrupt(run) if follow else contextlib.nullcontext():
        for line in runner.logs(run, node=node, since=start, follow=follow):
            for text in [line.text] if raw else line.text.splitlines() or [""]:
                print(f"[node {line.node}] {text}", file=unescaped(sys.stdout) if raw else sys.stdout, flush=follow)


def _moment(text: str) -> float:
    """Return a Unix time from a duration before now, or from an ISO time in this machine's time zone."""
    import time
    from datetime import datetime

    from gpuyard.problems import Problem
    from gpuyard.training_jobs.durations import seconds
    from gpuyard.training_jobs.errors import UsageError

    try:
        return time.time() - seconds(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        allowed = "a duration such as 10m, or an ISO time such as 2026-11-22T03:00"
        raise UsageError("--since is not a time", [Problem("--since", "wrong value", text, allowed)]) from None
