"""`gpuyard sweep`: runs a job once for each combination of parameters, a few at once, and names the best."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from . import options

if TYPE_CHECKING:
    from gpuyard.training_jobs.comparison import Goal
    from gpuyard.training_jobs.state import State
    from gpuyard.training_jobs.status import RunStatus
    from gpuyard.training_jobs.sweep import Trial
    from gpuyard.training_jobs.trials import TrialJob

    from .documents import PlannedTrialDocument

__all__ = ["command"]


def command(
    job: Annotated[str, typer.Argument(metavar="JOB.yaml", help="Job file of every trial.", show_default=False)],
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="Parameter and its values A,B,C, or with --trials a range LOW..HIGH or LOW..HIGH:log. NAME is an option of the command, "
            "or a path as in --set; may be repeated.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Name of the sweep: the same key finds the same runs; default: the job's name.", show_default=False)
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Number of random trials; default: every combination of values.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random trials.")] = 0,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Largest number of unfinished trials at a time.")] = 4,
    metric: options.Metric = None,
    goal: options.Goal = "min",
    chart: options.Chart = None,
    retry: Annotated[bool, typer.Option("--retry", help="Start failed and cancelled trials again.")] = False,
    pool: Annotated[str | None, typer.Option(help="Pool to use instead of the job file's.", show_default=False)] = None,
    settings: options.Settings = None,
    stack: options.Stack = None,
    targets: options.Targets = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the trials; create nothing.")] = False,
    json: options.Json = False,
) -> None:
    """Run a job with several values of its parameters and wait for all. Typed again, it continues; no trial runs twice."""
    from gpuyard.counts import counted
    from gpuyard.training_jobs.comparison import parse_goal
    from gpuyard.training_jobs.overrides import split_setting
    from gpuyard.training_jobs.runner import Runner
    from gpuyard.training_jobs.state import Exit
    from gpuyard.training_jobs.sweep import check_sweep, grid_trials, parse_parameter, random_trials
    from gpuyard.training_jobs.trials import Stop, load_trials, run_trials

    from .documents import SweepPlanDocument, emit
    from .targets import find_targets

    chosen = parse_goal(goal)
    parameters = [parse_parameter(text) for text in param or []]
    changes = [split_setting("--set", each) for each in settings or []] + ([("pool", pool)] if pool is not None else [])
    name = key or _name(job, changes)
    check_sweep(name, parameters, trials=trials)
    planned = grid_trials(parameters) if trials is None else random_trials(parameters, trials, seed)
    jobs, code_dir = load_trials(job, changes, name, planned)
    if trials is not None and len(planned) < trials:
        print(f"--trials {trials}: the parameters have only {counted(len(planned), 'combination')}", file=sys.stderr)
    if dry_run and json:
        emit(SweepPlanDocument(key=name, trials=[_planned(name, each) for each in jobs]))
        return
    if dry_run:
        print("\n".join(f"trial {each.trial.number}  {_values(each.trial)}" for each in jobs))
        return
    found, source = find_targets(stack, targets)
    stop, progress = Stop(), _Progress(sys.stderr if json else sys.stdout, len(jobs))
    runner = Runner(found, source=source, sleep=stop.sleep)
    try:
        statuses = run_trials(
            runner, jobs, code_dir, key=name, at_once=at_once, stop=stop, retry=retry, leave_out=[Path(job)], on_status=progress.show
        )
    except KeyboardInterrupt:
        print(f"\nno more trials start; those that run continue. Type the same line again to go on with sweep {name}", file=sys.stderr)
        raise typer.Exit(Exit.INTERRUPTED) from None
    _print(jobs, statuses, name, metric, chosen, chart, as_json=json)
    raise typer.Exit(_code(statuses))


def _name(job: str, changes: Sequence[tuple[str, str]]) -> str:
    from gpuyard.training_jobs.overrides import apply_settings
    from gpuyard.training_jobs.spec import load_job

    return load_job(job, lambda data: apply_settings(data, changes))[0].name


def _planned(key: str, job: TrialJob) -> PlannedTrialDocument:
    from gpuyard.training_jobs.trials import trial_key

    from .documents import PlannedTrialDocument

    trial = job.trial
    return PlannedTrialDocument(trial=trial.number, values=dict(trial.values), request_key=trial_key(key, trial), command=job.spec.command)


def _values(trial: Trial) -> str:
    return "  ".join(f"{name}={value}" for name, value in trial.values.items())


class _Progress:
    """Prints a line when the state of a trial changes. Several threads call it."""

    def __init__(self, stream: TextIO, trials: int) -> None:
        self._stream, self._trials = stream, trials
        self._shown: dict[int, State] = {}
        self._lock = threading.Lock()

    def show(self, trial: Trial, status: RunStatus) -> None:
        line = f"trial {trial.number}/{self._trials}  {status.state:<10} {status.run_id}  {_values(trial)}"
        with self._lock:
            if self._shown.get(trial.number) is not status.state:
                self._shown[trial.number] = status.state
                print(line, file=self._stream, flush=True)


def _print(
    jobs: Sequence[TrialJob],
    statuses: Sequence[RunStatus],
    key: str,
    metric: str | None,
    goal: Goal,
    chart: Path | None,
    *,
    as_json: bool,
) -> None:
    from gpuyard.training_jobs.comparison import best, usual_metric

    from .chart import draw
    from .tables import comparison

    pairs = [(each.trial, status) for each, status in zip(jobs, statuses, strict=True)]
    compared = metric or usual_metric(statuses)
    top = best(statuses, compared, goal)
    values = [(trial.values, status) for trial, status in pairs]
    if as_json:
        _emit(pairs, key, compared, goal, top)
    else:
        print(comparison(values, compared, top))
    if chart is not None:
        draw(values, compared, top, chart)


def _emit(pairs: Sequence[tuple[Trial, RunStatus]], key: str, metric: str, goal: Goal, top: RunStatus | None) -> None:
    from gpuyard.training_jobs.comparison import metric_of

    from .documents import SweepDocument, TrialDocument, emit

    rows = [
        TrialDocument(trial=trial.number, values=dict(trial.values), metric=metric_of(status, metric), status=status)
        for trial, status in pairs
    ]
    emit(SweepDocument(key=key, metric=metric, goal=goal, best=top.run_id if top else None, trials=rows))


def _code(statuses: Sequence[RunStatus]) -> int:
    """Return 0 if every trial succeeded, the code of the others if they have the same one, else 1."""
    from gpuyard.training_jobs.state import Exit, exit_for

    codes = {exit_for(status.state, status.reason) for status in statuses} - {Exit.OK}
    return int(Exit.OK if not codes else codes.pop() if len(codes) == 1 else Exit.FAILED)
