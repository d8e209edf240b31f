"""`${NAME}` in a job's command and setup: what `submit` accepts and what a node puts in its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.launch.variables import NAMES, data_variable, expand, used_variables
from gpuyard.training_jobs.spec import parse_job

VARIABLES = {name: f"<{name}>" for name in (*NAMES, "GPUYARD_DATA_TOKENS", "LR")}


def job(**keys: object) -> None:
    parse_job({"name": "j", "data": {"tokens": "s3://b/t"}, "env": {"LR": "0.1"}, "secrets": {"TOKEN": "t"}, **keys})


@pytest.mark.parametrize("name", VARIABLES)
def test_the_variables_of_a_job_are_known(name: str) -> None:
    job(command=["train.py", f"--x=${{{name}}}/y"], setup=["prepare", f"${{{name}}}"])
    assert expand(["train.py", f"--x=${{{name}}}/y"], VARIABLES) == ["train.py", f"--x=<{name}>/y"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("${GPUYARD_DATA_TOKEN}", "command.1: no such variable, got ${GPUYARD_DATA_TOKEN}, allowed: GPUYARD_RUN_ID"),
        ("${GPUYARD_DATA_TOKEN}", "did you mean 'GPUYARD_DATA_TOKENS'?"),
        ("${HOME}", "write $${HOME} for the text ${HOME} itself"),
        ("${TOKEN}", "command.1: no such variable, got ${TOKEN}"),  # a secret would be in the argument list of a process
    ],
)
def test_an_unknown_name_is_refused_before_anything_is_paid(argument: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        job(command=["train.py", argument])
    assert message in str(caught.value)


def test_a_shell_reads_its_own_variables() -> None:
    argv = ["bash", "-c", "echo ${HOME} ${GPUYARD_DATA_TOKENS}"]
    job(launcher="none", command=argv, setup=["/bin/sh", "-c", "echo ${NO_SUCH}"])
    assert expand(argv, VARIABLES) == argv


@given(st.lists(st.text(alphabet="${}AB_ =/", max_size=12), min_size=1, max_size=4))
def test_only_known_variables_are_replaced_and_nothing_is_read_twice(argv: list[str]) -> None:
    names = {name for _, name in used_variables(argv)}
    values = dict.fromkeys(names, "${A}$${B}")  # a value that looks like a variable stays as it is
    expanded = expand(argv, values)
    assert len(expanded) == len(argv)
    if not names:
        assert expanded == [argument.replace("$${", "${") for argument in argv]


@given(st.text(alphabet="${}A/ ", max_size=12))
def test_a_text_with_doubled_dollars_comes_out_as_written(text: str) -> None:
    assert expand(["x", text.replace("${", "$${")], {}) == ["x", text]


def test_a_name_of_data_becomes_a_variable() -> None:
    assert data_variable("tokens-v2") == "GPUYARD_DATA_TOKENS_V2"


def test_a_name_that_this_version_does_not_know_stays() -> None:
    """A run that an older gpuyard accepted is not ended by a new rule."""
    assert expand(["train.py", "${OTHER}"], VARIABLES) == ["train.py", "${OTHER}"]
