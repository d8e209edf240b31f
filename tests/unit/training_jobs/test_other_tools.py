"""Job files of other tools, and commands written as text, are answered with gpuyard's own way."""

from __future__ import annotations

import pytest

from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.other_tools import KEYS
from gpuyard.training_jobs.spec import JobSpec, parse_job

SKYPILOT = {
    "name": "t", "workdir": ".", "num_nodes": 2, "resources": {"accelerators": "H100:8"}, "envs": {"A": "b"},
    "setup": "pip install -r requirements.txt", "run": "python train.py",
}  # fmt: skip


def _message(**keys: object) -> str:
    with pytest.raises(UsageError) as caught:
        parse_job({"name": "t", "command": ["train.py"], **keys})
    return str(caught.value)


def test_a_skypilot_task_is_recognised_key_by_key() -> None:
    with pytest.raises(UsageError) as caught:
        parse_job(SKYPILOT)
    text = str(caught.value)
    assert "resources: a key of SkyPilot, not of gpuyard; in gpuyard: gpus: H100:8 checks the GPUs; pool: NAME or --pool" in text
    for key, own in {"num_nodes": "nodes: N", "workdir": "code: FOLDER", "run": "command: [train.py, ...]", "envs": "env: "}.items():
        assert f"{key}: a key of SkyPilot, not of gpuyard; in gpuyard: {own}" in text
    assert "setup: text, not a list of arguments, got 'pip install -r requirements.txt'; write setup: [pip, install, -r, " in text


def test_a_key_of_ours_is_never_named_as_another_tools() -> None:
    assert not set(KEYS) & set(JobSpec.model_fields)


@pytest.mark.parametrize(
    ("field", "text", "fix"),
    [
        ("command", "python train.py --lr 3e-4", "write command: [train.py, --lr, 3e-4]"),
        ("command", "LR=0.1 HF_HOME=/tmp/x python train.py", 'write env: {LR: "0.1", HF_HOME: "/tmp/x"}, and a list in command:'),
        ("command", "torchrun --nproc-per-node 8 train.py", "write command: [SCRIPT, ARGUMENTS...] without torchrun, and nodes: and gpus:"),
        ("command", "train.py --text 'a b'", 'write command: [train.py, --text, "a b"]'),
        ("command", "a.py && b.py", 'launcher: none and command: [bash, -c, "a.py && b.py"]'),
        ("setup", "pip install -e . | tail -1", 'a shell runs only if you name it: setup: [bash, -c, "pip install -e . | tail -1"]'),
        ("setup", "echo 'unbalanced", 'setup: [bash, -c, "echo \'unbalanced"]'),
    ],
)
def test_a_command_as_text_gets_the_list_to_write(field: str, text: str, fix: str) -> None:
    assert fix in _message(**{field: text})


def test_the_suggested_shell_is_accepted() -> None:
    spec = parse_job({"name": "t", "launcher": "none", "command": ["bash", "-c", "a.py && b.py"], "setup": ["bash", "-c", "x | y"]})
    assert spec.setup == ["bash", "-c", "x | y"]


def test_a_secret_in_a_text_is_not_shown() -> None:
    token = "hf_" + "abcDEF123456" * 3
    message = _message(setup=f"curl -H 'Authorization: Bearer {token}' https://x.io")
    assert "got (secret)" in message
    assert token not in message
