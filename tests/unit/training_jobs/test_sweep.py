"""The plan of a sweep: its trials, the job of each, and the comparison of their runs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.stacks.cli.chart import positions
from gpuyard.stacks.cli.tables import comparison
from gpuyard.training_jobs.comparison import best, metric_of, usual_metric, varying_options, varying_values
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.spec import JobSpec
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.status import Metrics, RunStatus
from gpuyard.training_jobs.sweep import Parameter, Trial, check_sweep, grid_trials, parse_parameter, random_trials, trial_job

JOB = {"name": "tune", "command": ["train.py", "--lr", "0.1"], "env": {"SEED": "1"}}
values = st.lists(st.text(alphabet="abc123.", min_size=1, max_size=4), min_size=1, max_size=4, unique=True)


@given(st.lists(values, min_size=1, max_size=3))
def test_a_grid_has_each_combination_once(lists: list[list[str]]) -> None:
    trials = grid_trials([Parameter(f"p{index}", tuple(each)) for index, each in enumerate(lists)])
    assert len(trials) == math.prod(map(len, lists))
    assert len({trial.digest for trial in trials}) == len(trials)
    assert [trial.number for trial in trials] == list(range(1, len(trials) + 1))


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 5))
def test_random_trials_repeat_and_a_longer_sweep_begins_with_the_same(short: int, more: int, seed: int) -> None:
    parameters = [parse_parameter("lr=1e-5..1e-1:log"), parse_parameter("layers=2..9"), parse_parameter("act=relu,gelu")]
    first, longer = random_trials(parameters, short, seed), random_trials(parameters, short + more, seed)
    assert first == longer[:short]
    for trial in longer:
        assert 1e-5 <= float(trial.values["lr"]) <= 1e-1
        assert trial.values["layers"] in set("23456789")
    assert len({trial.digest for trial in longer}) == len(longer) == short + more


def test_there_are_no_more_random_trials_than_combinations() -> None:
    assert len(random_trials([parse_parameter("a=1,2,3")], 10, 0)) == 3


@pytest.mark.parametrize("text", ["lr", "=1", "lr=", "lr=1,,2", "lr=1,1", "lr=2..1", "lr=0..1:log"])
def test_a_parameter_without_different_values_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="needs a name, and a range or different values"):
        parse_parameter(text)


@pytest.mark.parametrize(
    ("given", "trials", "sampler", "message"),
    [
        (["a=1,2"], 5, "cmaes", "--sampler: unknown sampler, got cmaes, allowed: random, tpe, gp"),
        (["a=1,2"], None, "tpe", "--trials: required with --sampler; add --trials N, the number of trials"),
        (["a=1,2"], None, "random", "--trials: required with --sampler"),
        (["pool=a,b"], 5, "gp", "--param pool: a sampler that learns needs one pool for all trials; use --set pool=VALUE"),
        (["name=a,b"], 5, "tpe", "--param name: a sampler that learns needs one name for all trials"),
    ],
)
def test_a_sampler_without_a_plan_is_refused(given: list[str], trials: int | None, sampler: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_sweep("tune", [parse_parameter(each) for each in given], trials=trials, sampler=sampler)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("key", "given", "trials", "message"),
    [
        ("Tune", ["a=1"], None, "--key: not a name for a sweep, got 'Tune', allowed: a-z, 0-9 and -"),
        ("tune", [], None, "--param: required, allowed: NAME=A,B,C"),
        ("tune", ["a=1", "a=2"], None, "--param: given twice, got a"),
        ("tune", ["--a=1"], None, "--param --a: not a name of an option or a path, got --a"),
        ("tune", ["code=a,b"], None, "--param code: all trials have the same code"),
        ("tune", ["a=1..2"], None, "--param a: a grid needs single values, not a range; list its values, or add --trials N"),
        ("tune", [f"a={','.join(map(str, range(100)))}", f"b={','.join(map(str, range(11)))}"], None, "too many combinations, got 1100"),
    ],
)
def test_a_sweep_without_a_plan_is_refused(key: str, given: list[str], trials: int | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_sweep(key, [parse_parameter(each) for each in given], trials=trials)
    assert message in str(caught.value)


def test_a_name_is_an_option_of_the_command_and_a_path_is_a_value_of_the_file() -> None:
    trial = Trial(1, {"lr": "0.2", "wd": "0", "env.SEED": "7", "nodes": "2"})
    assert trial_job(JOB, "tune", trial) == {
        "name": "tune", "nodes": "2", "command": ["train.py", "--lr=0.2", "--wd=0"], "env": {"SEED": "7"}, "labels": {"sweep": "tune"},
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"--param command\[9\]: no such element in the job file"):
        trial_job(JOB, "tune", Trial(1, {"command[9]": "x"}))
    trainer = {"command": ["-m", "gpuyard.training_jobs.train", "steps=400", "lr=1e-3"]}
    assert trial_job(trainer, "t", Trial(1, {"lr": "2e-3"}))["command"][2:] == ["steps=400", "lr=2e-3"]


def _run(run_id: str, state: State = State.SUCCEEDED, **metrics: Any) -> RunStatus:
    known = {name: metrics.pop(name) for name in ("loss", "val_loss") if name in metrics}
    fields: dict[str, Any] = {"run_id": run_id, "state": state, "reason": None, "metrics": Metrics(**known, other=metrics)}
    return RunStatus.model_construct(**fields)


def test_the_best_run_succeeded_and_has_the_metric() -> None:
    runs = [
        _run("a", loss=2.0),
        _run("b", State.FAILED, loss=0.1),
        _run("c", loss=1.0),
        _run("d"),
        _run("e", loss=1.0),
        _run("f", loss=math.nan),
    ]
    low, high = best(runs, "loss", "min"), best(runs, "loss", "max")
    assert [low and low.run_id, high and high.run_id] == ["c", "a"]
    assert best(runs, "accuracy", "max") is None
    assert metric_of(_run("x", accuracy=0.9), "accuracy") == 0.9
    assert metric_of(_run("x", accuracy="high"), "accuracy") is None
    assert metric_of(_run("x", accuracy=True), "other") is None
    assert (usual_metric(runs), usual_metric([*runs, _run("v", val_loss=1.0)])) == ("loss", "val_loss")


def test_a_diverged_run_is_shown_and_is_never_the_best() -> None:
    runs = [({"lr": "9"}, _run("a", loss=math.nan)), ({"lr": "8"}, _run("b", loss=math.inf)), ({"lr": "1"}, _run("c", loss=-2.0))]
    lines = comparison(runs, "loss", best([status for _, status in runs], "loss", "max")).splitlines()
    assert [line.split()[2] for line in lines[1:4]] == ["nan", "inf", "-2"]
    assert lines[-1] == "best loss *: c"


def test_a_pruned_trial_is_shown_as_such() -> None:
    pruned = _run("a", State.CANCELLED, loss=3.0).model_copy(update={"reason": Reason.PRUNED})
    assert "CANCELLED (pruned)" in comparison([({"lr": "9"}, pruned)], "loss", None)


@pytest.mark.parametrize(
    ("values", "placed", "ends"),
    [
        (["0.1", "0.3", "0.2"], [0.0, 1.0, 0.5], ["0.1", "0.3"]),
        (["relu", "gelu"], [1.0, 0.0], ["gelu", "relu"]),
        (["1", "nan"], [0.0, 1.0], ["1", "nan"]),
        (["7", "7"], [0.5, 0.5], ["7", "7"]),
    ],
)
def test_values_lie_on_an_axis(values: list[str], placed: list[float], ends: list[str]) -> None:
    found, shown = positions(values)
    assert found == pytest.approx(placed)
    assert shown == ends


def test_only_options_that_differ_are_compared() -> None:
    commands = {"a": ["t.py", "--lr=1", "--wd", "0", "--fast"], "b": ["t.py", "--lr=2", "--wd", "0", "--fast"], "c": ["t.py", "--wd", "0"]}
    assert varying_options(commands) == {"a": {"lr": "1", "fast": ""}, "b": {"lr": "2", "fast": ""}, "c": {}}
    assert varying_options({"a": ["-m", "x", "lr=1"], "b": ["-m", "x", "lr=2"]}) == {"a": {"lr": "1"}, "b": {"lr": "2"}}
    signs = {"a": ["t.py", "--bias", "-0.5", "--fast", "-v"], "b": ["t.py", "--bias", "-.1"]}
    assert varying_options(signs) == {"a": {"bias": "-0.5", "fast": ""}, "b": {"bias": "-.1"}}


def test_settings_that_differ_are_compared_beside_options() -> None:
    job = {"name": "t", "code": ".", "labels": {"sweep": "s"}, "env": {"SEED": "1"}}
    specs = {
        "a": JobSpec.model_validate({**job, "command": ["t.py", "--lr=1"], "env": {"LR": "0.10", "SEED": "1"}}),
        "b": JobSpec.model_validate({**job, "name": "u", "command": ["t.py", "--lr=2"], "nodes": 2, "labels": {"sweep": "r"}}),
    }
    assert varying_values(specs) == {"a": {"nodes": "1", "env.LR": "0.10", "lr": "1"}, "b": {"nodes": "2", "lr": "2"}}
