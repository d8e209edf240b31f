"""`--set` and extra arguments change exactly the named value of a job file; the file's own rules then apply."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.overrides import apply_arguments, apply_settings, split_setting, with_argument
from gpuyard.training_jobs.spec import load_job

JOB = "name: j\nnodes: 2\ncommand: [train.py, --lr, 0.10]\nenv: {LR: 0.10}\ncheckpoint: {every: 10m}\n"


def load(folder: Path, *settings: str, arguments: tuple[str, ...] = ()) -> object:
    (folder / "job.yaml").write_text(JOB)
    changes = [split_setting("--set", each) for each in settings]
    return load_job(folder / "job.yaml", lambda data: apply_arguments(apply_settings(data, changes), arguments))[0]


def test_values_keep_their_text_and_the_rest_stays(tmp_path: Path) -> None:
    plain = load(tmp_path)
    spec = load(tmp_path, "env.LR=3.10", "command[2]=0.20", "checkpoint.every=5m", "nodes=1", "labels.team=nlp", arguments=("--fast", "-x"))
    assert spec.command == ["train.py", "--lr", "0.20", "--fast", "-x"]  # type: ignore[attr-defined]
    assert (spec.env, spec.labels) == ({"LR": "3.10"}, {"team": "nlp"})  # type: ignore[attr-defined]
    assert (spec.checkpoint.every, spec.checkpoint.keep, spec.nodes) == (300, 3, 1)  # type: ignore[attr-defined]
    assert plain == load(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("command[3]=x", "--set command[3]: no such element in the job file, got command[3], allowed: 0 to 2; write arguments after --"),
        ("name.x=1", "--set name.x: the job file has no mapping there"),
        ("env LR=1", "--set env LR: not a path, got env LR, allowed: PATH=VALUE, such as env.LR=0.2"),
        ("[0]=1", "--set [0]: not a path"),
        ("env..LR=1", "--set env..LR: not a path"),
        (f"command[{'9' * 5000}]=x", "not a path"),
        ("nodez=2", "nodez: unknown key"),
        ("nodes=two", "nodes: wrong value, got 'two'"),
        ("env.LR", "--set: not a path and a value, got env.LR, allowed: PATH=VALUE"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, setting)
    assert message in str(caught.value)


def test_the_content_of_the_file_is_not_changed_in_place() -> None:
    job = {"env": {"A": "1"}, "command": ["a"]}
    assert apply_settings(job, [("env.A", "2"), ("command[0]", "b")]) == {"env": {"A": "2"}, "command": ["b"]}
    assert job == {"env": {"A": "1"}, "command": ["a"]}


def test_a_value_with_a_sign_goes_with_its_option() -> None:
    assert with_argument(["t.py", "--lr", "-0.1", "-v"], "lr", "0.2") == ["t.py", "--lr=0.2", "-v"]
    assert with_argument(["t.py", "--lr", "-v"], "lr", "0.2") == ["t.py", "--lr=0.2", "-v"]


@given(st.lists(st.sampled_from(["train.py", "--lr", "--lr=1", "0.1", "--wd", "-v"]), max_size=6))
def test_an_option_is_set_exactly_once(command: list[str]) -> None:
    found = with_argument(command, "lr", "0.2")
    assert [each for each in found if each.startswith("--lr")] == ["--lr=0.2"]
    assert with_argument(found, "lr", "0.2") == found
    if "--lr" not in command:  # its value, in the next argument, goes with it
        kept = [[each for each in argv if not each.startswith("--lr")] for argv in (command, found)]
        assert kept[0] == kept[1]
