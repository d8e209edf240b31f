"""`gpuyard sweep`: runs a job once for each combination of parameters, a few at once, and names the best."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from . import options

if TYPE_CHECKING:
    from gpuyard.training_jobs.comparison import Goal
    from gpuyard.training_jobs.runner import Runner
    from gpuyard.training_jobs.search import Results, SearchedTrials
    from gpuyard.training_jobs.state import State
    from gpuyard.training_jobs.status import RunStatus
    from gpuyard.training_jobs.sweep import Parameter, Trial
    from gpuyard.training_jobs.trials import PlannedTrials, SweepFile

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
        int | None,
        typer.Option(min=1, max=1000, help="Number of sampled trials; default: every combination of values.", show_default=False),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="How --trials chooses values: random, or tpe or gp (Optuna), which learn from earlier trials; default: random.",
            show_default=False,
        ),
    ] = None,
    prune_after: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="STEP",
            help="Cancel a trial that is worse than the median of the others, from this step on; default: never.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampler.")] = 0,
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
    from gpuyard.training_jobs.comparison import parse_goal
    from gpuyard.training_jobs.overrides import split_setting
    from gpuyard.training_jobs.runner import Runner
    from gpuyard.training_jobs.samplers import require_optuna
    from gpuyard.training_jobs.search import Results
    from gpuyard.training_jobs.state import Exit
    from gpuyard.training_jobs.sweep import check_sweep, parse_parameter
    from gpuyard.training_jobs.trials import Stop, read_sweep_file, run_trials

    from .targets import find_targets

    results = Results(metric, parse_goal(goal))
    parameters = [parse_parameter(text) for text in param or []]
    changes = [split_setting("--set", each) for each in settings or []] + ([("pool", pool)] if pool is not None else [])
    file = read_sweep_file(job, changes)
    name = key or file.spec.name
    check_sweep(name, parameters, trials=trials, sampler=sampler)
    plan = _Plan(file, name, parameters, trials, sampler, seed, results)
    plan.check()
    if prune_after is not None:
        require_optuna(None)
    if dry_run:
        _print_plan(plan, as_json=json)
        return
    found, source = find_targets(stack, targets)
    stop = Stop()
    runner = Runner(found, source=source, sleep=stop.sleep)
    queue = plan.source(runner)
    on_status = _on_status(runner, results, _Progress(sys.stderr if json else sys.stdout, queue.count), prune_after)
    try:
        ended = run_trials(
            runner, queue, file.code_dir, at_once=at_once, stop=stop, retry=retry, leave_out=[Path(job)], on_status=on_status
        )
    except KeyboardInterrupt:
        print(f"\nno more trials start; those that run continue. Type the same line again to go on with sweep {name}", file=sys.stderr)
        raise typer.Exit(Exit.INTERRUPTED) from None
    _print([(each.trial, status) for each, status in ended], name, results, chart, as_json=json)
    raise typer.Exit(_code([status for _, status in ended]))


@dataclass(frozen=True)
class _Plan:
    """A sweep as typed. `trials`: the number of sampled trials; None: every combination of values."""

    file: SweepFile
    key: str
    parameters: Sequence[Parameter]
    trials: int | None
    sampler: str | None
    seed: int
    results: Results

    @property
    def learns(self) -> bool:
        """Whether the values of a trial depend on the results of earlier ones."""
        from gpuyard.training_jobs.sweep import LEARNING

        return self.sampler in LEARNING

    def check(self) -> None:
        """Check the sampler's packages, and that all values fit into the job. Raises UsageError."""
        from gpuyard.training_jobs.samplers import require_optuna
        from gpuyard.training_jobs.sweep import corner_trials
        from gpuyard.training_jobs.trials import PlannedTrials

        if self.learns:
            require_optuna(self.sampler)
            PlannedTrials(self.file, self.key, corner_trials(self.parameters))

    def source(self, runner: Runner | None) -> SearchedTrials | PlannedTrials:
        """Return the trials. Print a line if there are fewer combinations than `--trials`. `runner` None: to show the plan."""
        from gpuyard.counts import counted
        from gpuyard.training_jobs.search import SearchedTrials
        from gpuyard.training_jobs.sweep import combinations, grid_trials, random_trials
        from gpuyard.training_jobs.trials import PlannedTrials

        if self.trials is None:
            return PlannedTrials(self.file, self.key, grid_trials(self.parameters))
        count = min(self.trials, combinations(self.parameters) or self.trials)
        if self.learns:
            found: SearchedTrials | PlannedTrials = SearchedTrials(
                runner, self.file, self.key, self.parameters, count, str(self.sampler), self.seed, self.results
            )
        else:
            found = PlannedTrials(self.file, self.key, random_trials(self.parameters, count, self.seed))
        if found.count < self.trials:
            print(f"--trials {self.trials}: the parameters have only {counted(found.count, 'combination')}", file=sys.stderr)
        return found


def _print_plan(plan: _Plan, *, as_json: bool) -> None:
    """Print the trials. Of a sampler that learns only the first is known."""
    from .documents import PlannedTrialDocument, SweepPlanDocument, emit

    source = plan.source(None)
    jobs = [source.job(number + 1) for number in range(1 if plan.learns else source.count)]
    if len(jobs) < source.count:
        print(f"the values of trials 2 to {source.count} depend on the results of earlier ones", file=sys.stderr)
    if not as_json:
        print("\n".join(f"trial {each.trial.number}  {_values(each.trial)}" for each in jobs))
        return
    rows = [
        PlannedTrialDocument(trial=each.trial.number, values=dict(each.trial.values), request_key=each.key, command=each.spec.command)
        for each in jobs
    ]
    emit(SweepPlanDocument(key=plan.key, trials=rows))


def _values(trial: Trial) -> str:
    return "  ".join(f"{name}={value}" for name, value in trial.values.items())


def _on_status(runner: Runner, results: Results, progress: _Progress, prune_after: int | None) -> Callable[[Trial, RunStatus], None]:
    """Return the function that gets each status of a trial: it keeps the result, prints a changed state, and prunes."""
    from gpuyard.training_jobs.search import Pruner

    pruner = Pruner(runner, results, prune_after) if prune_after is not None else None

    def on_status(trial: Trial, status: RunStatus) -> None:
        results.update(trial, status)
        progress.show(trial, status)
        if pruner is not None:
            pruner.update(trial, status)

    return on_status


class _Progress:
    """Prints a line when the state of a trial changes. Several threads call it."""

    def __init__(self, stream: TextIO, trials: int) -> None:
        self._stream, self._trials = stream, trials
        self._shown: dict[int, State] = {}
        self._lock = threading.Lock()

    def show(self, trial: Trial, status: RunStatus) -> None:
        from .tables import shown_state

        line = f"trial {trial.number}/{self._trials}  {shown_state(status):<10} {status.run_id}  {_values(trial)}"
        with self._lock:
            if self._shown.get(trial.number) is not status.state:
                self._shown[trial.number] = status.state
                print(line, file=self._stream, flush=True)


def _print(pairs: Sequence[tuple[Trial, RunStatus]], key: str, results: Results, chart: Path | None, *, as_json: bool) -> None:
    from gpuyard.training_jobs.comparison import best

    from .chart import draw
    from .tables import comparison

    compared = results.metric
    top = best([status for _, status in pairs], compared, results.goal)
    values = [(trial.values, status) for trial, status in pairs]
    if as_json:
        _emit(pairs, key, compared, results.goal, top)
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
    """Return 0 if every trial succeeded or was pruned, the code of the others if they have the same one, else 1."""
    from gpuyard.training_jobs.state import Exit, Reason, exit_for

    codes = {exit_for(status.state, status.reason) for status in statuses if status.reason is not Reason.PRUNED} - {Exit.OK}
    return int(Exit.OK if not codes else codes.pop() if len(codes) == 1 else Exit.FAILED)
