"""`gpuyard compare`: shows runs side by side: their options and job settings that differ, a metric, and the best one."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options

__all__ = ["command"]


def command(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN...]", help="Run ids; default: the runs with --label.", show_default=False)
    ] = None,
    label: options.Labels = None,
    metric: options.Metric = None,
    goal: options.Goal = "min",
    chart: options.Chart = None,
    stack: options.Stack = None,
    targets: options.Targets = None,
    json: options.Json = False,
) -> None:
    """Compare runs: their options and job settings that differ, a metric of each, and the best run."""
    import sys

    from gpuyard.problems import Problem
    from gpuyard.training_jobs.comparison import best, metric_of, parse_goal, usual_metric, varying_values
    from gpuyard.training_jobs.errors import UsageError
    from gpuyard.training_jobs.lifecycle.listing import RunFilter

    from .chart import draw
    from .documents import CompareDocument, ComparedRunDocument, emit
    from .labels import parse_labels
    from .tables import comparison
    from .targets import make_runner

    chosen, labels = parse_goal(goal), parse_labels(label or [])
    if bool(runs) == bool(labels):
        fix = "name runs, or the label that they share, such as --label sweep=KEY"
        raise UsageError("the runs cannot be compared", [Problem("RUN", "run ids or --label are required, not both", fix=fix)])
    runner = make_runner(stack, targets)
    if runs:
        statuses = [runner.status(run) for run in dict.fromkeys(runs)]
    else:
        statuses = runner.runs(lambda damage: print(damage, file=sys.stderr), RunFilter(labels=labels))[::-1]
    compared = metric or usual_metric(statuses)
    top = best(statuses, compared, chosen)
    differing = varying_values({status.run_id: runner.spec(status.run_id) for status in statuses})
    values = [(differing[status.run_id], status) for status in statuses]
    if json:
        rows = [
            ComparedRunDocument(options=differing[status.run_id], metric=metric_of(status, compared), status=status) for status in statuses
        ]
        emit(CompareDocument(metric=compared, goal=chosen, best=top.run_id if top else None, runs=rows))
    elif statuses:
        print(comparison(values, compared, top))
    else:
        print("no run has this label; `gpuyard list` shows the runs")
    if chart is not None and statuses:
        draw(values, compared, top, chart)
