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
    attempt: Annotated[
        int | None, typer.Option(help="Print one attempt only; default: all attempts of the newest submission.", show_default=False)
    ] = None,
    since: Annotated[str | None, typer.Option(help=f"Start: {options.MOMENT}.", show_default=False)] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print control characters and CI commands as the nodes wrote them, not escaped.")
    ] = False,
    stack: options.Stack = None,
    targets: options.Targets = None,
) -> None:
    """Print the output of a run's nodes. With -f, first print why the run waits. Ctrl-C stops only the printing."""
    import contextlib
    import sys

    from .streams import unescaped
    from .targets import make_runner
    from .times import parse_moment
    from .view import hint_on_interrupt, print_wait

    start = parse_moment("--since", since) if since is not None else None
    runner = make_runner(stack, targets)
    with hint_on_interrupt(run) if follow else contextlib.nullcontext():
        for line in runner.logs(run, node=node, attempt=attempt, since=start, follow=follow, on_wait=print_wait):
            for text in [line.text] if raw else line.text.splitlines() or [""]:
                print(f"[node {line.node}] {text}", file=unescaped(sys.stdout) if raw else sys.stdout, flush=follow)
