"""`gpuyard list`: lists the runs of a stack, newest first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

if TYPE_CHECKING:
    from gpuyard.training_jobs.state import State

__all__ = ["command"]


def command(
    state: Annotated[
        list[str] | None, typer.Option(help="List only runs in this state, such as FAILED; may be repeated.", show_default=False)
    ] = None,
    label: options.Labels = None,
    pool: Annotated[str | None, typer.Option(help="List only runs of this pool.", show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option(help=f"List only runs first submitted after this time: {options.MOMENT}.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="List at most this number of runs, the newest.", show_default=False)] = None,
    stack: options.Stack = None,
    targets: options.Targets = None,
    json: options.Json = False,
) -> None:
    """List the runs of a stack, newest first."""
    from gpuyard.training_jobs.lifecycle.listing import RunFilter
    from gpuyard.training_jobs.runner import Runner
    from gpuyard.training_jobs.target import pick_target

    from .documents import ListDocument, emit
    from .labels import parse_labels
    from .tables import table
    from .targets import find_targets
    from .times import parse_moment

    where = RunFilter(
        pool=pool,
        states=_states(state or []),
        labels=parse_labels(label or []),
        since=None if since is None else parse_moment("--since", since),
        limit=limit,
    )
    found, source = find_targets(stack, targets)
    if pool is not None:
        pick_target(found, pool, source)
    runs = Runner(found, source=source).runs(lambda damage: print(damage, file=sys.stderr), where)
    if json:
        emit(ListDocument(runs=runs))
    elif runs:
        print(table(runs))
    elif where == RunFilter(limit=limit):
        print("no runs yet; `gpuyard submit JOB.yaml` starts one")
    else:
        print("no run matches the options; `gpuyard list` without options lists all runs")


def _states(names: list[str]) -> frozenset[State]:
    from gpuyard.problems import Problem, did_you_mean
    from gpuyard.training_jobs.errors import UsageError
    from gpuyard.training_jobs.state import State

    known = [str(state) for state in State]
    wrong = [
        Problem("--state", "unknown state", name, ", ".join(known), did_you_mean(name.upper(), known))
        for name in names
        if name.upper() not in known
    ]
    if wrong:
        raise UsageError("the runs cannot be listed", wrong)
    return frozenset(State(name.upper()) for name in names)
