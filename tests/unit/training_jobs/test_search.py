"""Sweeps that learn and prune, with the real journal and Optuna, on a service that trains on a virtual clock."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends.base import Capacity, LogLine, Request, ServiceStatus
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.launch.curves import Curves
from gpuyard.training_jobs.run import Run
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.search import Pruner, Results, SearchedTrials
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.status import Metrics, RunStatus
from gpuyard.training_jobs.sweep import Parameter, Trial, parse_parameter
from gpuyard.training_jobs.trials import PlannedTrials, Stop, SweepFile, TrialJob, TrialSource, read_sweep_file, run_trials
from tests.helpers.local_pool import make_target, run_dir

pytest.importorskip("optuna")
PARAMETERS = [parse_parameter("lr=1e-5..1e-1:log"), parse_parameter("act=relu,gelu")]
STEPS = 20


class Trainings:
    """A service whose jobs make a step a second. The loss is best at lr=1e-3, and reaches its final value after STEPS steps."""

    poll_s = 1.0
    job_id = re.compile(r".+")

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1_000_000.0
        self.started: dict[str, tuple[Run, float]] = {}
        self.cancelled: dict[str, float] = {}

    def request(self, run: Run) -> list[Request]:
        return [Request("Start", {"name": run.name})]

    def principal(self) -> str | None:
        return "alice@acme.io"

    def ready(self) -> None:
        pass

    def submit(self, run: Run) -> str:
        self.started[run.name] = (run, self.now)
        return run.name

    def find(self, run: Run) -> str | None:
        return run.name if run.name in self.started else None

    def status(self, service_id: str) -> ServiceStatus:
        run, begun = self.started[service_id]
        step = int(min(STEPS, self.cancelled.get(service_id, self.now) - begun))
        curves = Curves()
        for each in range(1, step + 1):
            curves.add(each, {"loss": loss(run.spec.command, each)})
        if step:
            progress = {"step": step, "steps": STEPS, "metrics": {"loss": loss(run.spec.command, step)}, "curves": curves.as_document()}
            file = run_dir(self.folder, run.id) / "output/attempt-1/progress.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(progress))
        if service_id in self.cancelled:
            return ServiceStatus(State.CANCELLED, None, None, begun, self.now)
        return ServiceStatus(State.SUCCEEDED, None, 0, begun, self.now) if step == STEPS else ServiceStatus(State.RUNNING, started_at=begun)

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        return iter(())

    def cancel(self, service_id: str, run: Run) -> None:
        self.cancelled.setdefault(service_id, self.now)

    def capacity(self) -> Capacity:
        return Capacity(2, 2, 0)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def loss(command: Sequence[str], step: int) -> float:
    values = dict(argument.removeprefix("--").split("=") for argument in command if "=" in argument)
    return (math.log10(float(values["lr"])) + 3) ** 2 + 5 / step


class Sweeps:
    """One yard and a job file. Each call of `run` is another process."""

    def __init__(self, folder: Path) -> None:
        self.service = Trainings(folder)
        self.target = make_target(folder)
        self.path = folder / "job.yaml"
        self.path.write_text('{"name": "tune", "preflight": "skip", "command": ["train.py"]}')
        self.statuses: list[RunStatus] = []

    def runner(self) -> Runner:
        clock = lambda: self.service.now  # noqa: E731
        return Runner({"local": self.target}, backend_for=lambda _: self.service, clock=clock, elapsed=clock, sleep=self.service.sleep)

    def file(self) -> SweepFile:
        return read_sweep_file(str(self.path), [])

    def searched(self, count: int, *, parameters: Sequence[Parameter] = PARAMETERS, results: Results | None = None) -> SearchedTrials:
        return SearchedTrials(self.runner(), self.file(), "tune", parameters, count, "tpe", 0, results or Results("loss", "min"))

    def run(
        self, source: TrialSource, results: Results, *, prune_after: int | None = None, retry: bool = False
    ) -> list[tuple[TrialJob, RunStatus]]:
        runner = self.runner()
        pruner = Pruner(runner, results, prune_after) if prune_after is not None else None

        def on_status(trial: Trial, status: RunStatus) -> None:
            results.update(trial, status)
            if pruner:
                pruner.update(trial, status)

        return run_trials(runner, source, None, at_once=1, stop=Stop(), retry=retry, on_status=on_status)

    def search(self, count: int) -> list[tuple[TrialJob, RunStatus]]:
        results = Results("loss", "min")
        return self.run(self.searched(count, results=results), results)


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    return Sweeps(tmp_path)


def test_a_search_that_is_continued_elsewhere_has_the_trials_of_one_that_ran_through(sweeps: Sweeps, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    through = Sweeps(tmp_path / "other").search(16)
    results = Results("loss", "min")
    source = sweeps.searched(16, results=results)
    sweeps.run(sweeps.searched(5, results=results), results)
    sixth = source.job(6)
    sweeps.runner().submit(sixth.spec, None, key=sixth.key, trial=sixth.trial.values)  # the process dies while trial 6 runs
    last = sweeps.search(16)
    assert [job.trial for job, _ in last] == [job.trial for job, _ in through]
    assert len(sweeps.service.started) == 16, "a trial ran twice"


def test_two_processes_that_choose_other_values_for_a_trial_run_it_once(sweeps: Sweeps) -> None:
    other = Trial(1, {"lr": "0.02", "act": "gelu"})
    spec = sweeps.file().trial_spec("tune", other)

    class Late(SearchedTrials):
        def job(self, number: int) -> TrialJob:
            found = super().job(number)
            if found.chosen:  # the other process records its trial before this one submits
                sweeps.runner().submit(spec, None, key=found.key, trial=other.values)
            return found

    results = Results("loss", "min")
    source = Late(sweeps.runner(), sweeps.file(), "tune", PARAMETERS, 1, "tpe", 0, results)
    [(job, status)] = sweeps.run(source, results)
    assert (job.trial, status.state, len(sweeps.service.started)) == (other, State.SUCCEEDED, 1)


def test_a_search_of_other_parameters_needs_another_key(sweeps: Sweeps) -> None:
    sweeps.search(1)
    message = "--param: trial 1 of sweep tune has other parameters, got lr, allowed: act, lr; use another --key"
    with pytest.raises(UsageError, match=message):
        sweeps.searched(2, parameters=PARAMETERS[:1]).job(1)


def test_recorded_values_outside_a_changed_range_stay_in_the_sweep(sweeps: Sweeps) -> None:
    sweeps.search(3)
    narrow = [parse_parameter("lr=1e-4..1e-2:log"), PARAMETERS[1]]
    results = Results("loss", "min")
    ended = sweeps.run(sweeps.searched(6, parameters=narrow, results=results), results)
    assert len(sweeps.service.started) == len(ended) == 6
    assert all(1e-4 <= float(job.trial.values["lr"]) <= 1e-2 for job, _ in ended[3:])


def test_a_trial_that_is_worse_than_the_median_is_pruned_and_stays_so(sweeps: Sweeps) -> None:
    planned = [Trial(number + 1, {"lr": lr}) for number, lr in enumerate(("1e-3", "2e-3", "5e-4", "3e-3", "4e-4", "1e-1", "1.1e-3"))]
    results = Results("loss", "min")
    ended = sweeps.run(PlannedTrials(sweeps.file(), "tune", planned), results, prune_after=4)
    states = [(status.state, status.reason) for _, status in ended]
    assert states == [*[(State.SUCCEEDED, None)] * 5, (State.CANCELLED, Reason.PRUNED), (State.SUCCEEDED, None)]
    pruned = ended[5][1]
    assert pruned.detail == "pruned: worse than the median of the sweep's trials at the same step"
    assert 4 <= (pruned.metrics.step or 0) < STEPS / 2
    assert results.all()[5].outcome == "worst"

    elsewhere = Results("loss", "min")
    again = sweeps.run(PlannedTrials(sweeps.file(), "tune", planned), elsewhere, prune_after=4, retry=True)
    assert [status.state for _, status in again] == [status.state for _, status in ended]
    assert len(sweeps.service.started) == 7, "--retry started a pruned trial"
    assert elsewhere.all() == results.all()


def test_no_trial_is_pruned_before_the_step(sweeps: Sweeps) -> None:
    planned = [Trial(number + 1, {"lr": lr}) for number, lr in enumerate(("1e-3", "2e-3", "5e-4", "3e-3", "4e-4", "1e-1"))]
    ended = sweeps.run(PlannedTrials(sweeps.file(), "tune", planned), Results("loss", "min"), prune_after=STEPS + 1)
    assert {status.state for _, status in ended} == {State.SUCCEEDED}


def test_a_run_that_has_ended_is_not_pruned(sweeps: Sweeps) -> None:
    [(_, status)] = sweeps.run(PlannedTrials(sweeps.file(), "tune", [Trial(1, {"lr": "1e-3"})]), Results(None, "min"))
    sweeps.runner().prune(status.run_id)
    assert sweeps.runner().status(status.run_id).state is State.SUCCEEDED
    assert sweeps.service.cancelled == {}


def test_a_trial_that_reports_nothing_more_is_pruned_when_others_end(sweeps: Sweeps) -> None:
    slow, results = Trial(6, {"lr": "1e-1"}), Results("loss", "min")
    file, runner, pruner = sweeps.file(), sweeps.runner(), Pruner(sweeps.runner(), results, 1)
    run = runner.submit(file.trial_spec("tune", slow), None, key="tune/6", trial=slow.values).status.run_id
    sweeps.service.now += 1
    status = runner.status(run)
    for number in range(1, 6):
        results.update(slow, status)
        pruner.update(slow, status)
        assert runner.status(run).detail is None
        done = Trial(number, {"lr": "1e-3"})
        results.update(done, status.model_copy(update={"state": State.SUCCEEDED, "metrics": Metrics(step=STEPS, loss=0.0)}))
        results.set_curve(done, [(1, 5.0), (STEPS, 0.0)])
    pruner.update(slow, status)
    assert runner.status(run).reason is Reason.PRUNED
