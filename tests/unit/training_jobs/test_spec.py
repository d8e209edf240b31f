"""JobSpec: accepted job files, and the errors for all others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.training_jobs.durations import duration, seconds
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.spec import RECORDED, JobSpec, load_job, parse_job


def refused(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_job(file)
    return [str(problem) for problem in caught.value.problems]


def test_defaults_equal_the_documentation() -> None:
    spec = parse_job({"name": "a", "command": ["train.py"]})
    assert (spec.nodes, spec.timeout, spec.max_restarts, spec.launcher, spec.preflight) == (1, 86400, 0, "torchrun", "required")
    assert (spec.retries.preempted, spec.retries.infra, spec.retries.user_error) == (3, 0, 0)
    assert (spec.checkpoint.every, spec.checkpoint.keep) == (600, 3)


def test_a_spec_survives_json() -> None:
    spec = parse_job({"name": "a", "command": ["train.py", 3], "timeout": "1d2h", "queue_timeout": "90s"})
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


@given(st.integers(min_value=1, max_value=10**8))
def test_a_duration_survives_formatting(total: int) -> None:
    assert seconds(duration(total)) == total


@pytest.mark.parametrize("value", ["", "0s", "10", "10 m", "1:30", "-1h", "1.5h", "h", "1m1h", 600, True, None, 1.5])
def test_a_duration_needs_a_unit(value: object) -> None:
    with pytest.raises(ValueError, match=r"allowed|longer than zero"):
        seconds(value)


def test_all_problems_of_a_job_file_are_reported_at_once(tmp_path: Path) -> None:
    problems = refused(
        tmp_path,
        "name: Nightly\ncommand: [torchrun, train.py]\nnodez: 2\nnodes: two\ncheckpoint: {evry: 10m}\nlauncher: mpirun\n",
    )
    text = "\n".join(problems)
    assert "name: wrong value, got 'Nightly'" in text
    assert "nodez: unknown key" in text
    assert "did you mean 'nodes'?" in text
    assert "checkpoint.evry: unknown key, allowed: every, keep; did you mean 'every'?" in text
    assert "nodes: wrong value, got 'two'" in text
    assert "launcher: wrong value, got 'mpirun'" in text
    assert "command: gpuyard starts torchrun" in text


@pytest.mark.parametrize(
    ("line", "key", "fix"),
    [
        ("env: {A: on}", "env.A", '"on"'),
        ("env: {A: No}", "env.A", '"No"'),
        ("env: {off: a}", "env.off", '"off"'),
        ("timeout: 1:30", "timeout", '"1:30"'),
        ("command: [x.py, 1:30]", "command.1", '"1:30"'),
        ("command: [x.py, 010]", "command.1", '"010"'),
        ("command: [x.py, 2027-03-31]", "command.1", '"2027-03-31"'),
    ],
)
def test_misleading_yaml_values_are_reported(tmp_path: Path, line: str, key: str, fix: str) -> None:
    base = "name: a\n" if line.startswith("command") else "name: a\ncommand: [x.py]\n"
    problems = refused(tmp_path, base + line + "\n")
    assert any(problem.startswith(f"{key}: YAML reads") and problem.endswith(f"quote it: {fix}") for problem in problems), problems


def test_plain_numbers_and_quoted_words_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text('name: a\ncommand: [x.py, 10, 0.5, "on", true]\nenv: {A: "off", B: 1}\n')
    with pytest.raises(UsageError, match=r"command\.4"):
        load_job(file)  # a boolean is not accepted as an argument
    file.write_text('name: a\ncommand: [x.py, 10, 0.5, "on"]\nenv: {A: "off", B: 1}\n')
    spec, base = load_job(file)
    assert spec.command == ["x.py", "10", "0.5", "on"]
    assert spec.env == {"A": "off", "B": "1"}
    assert base == tmp_path


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "name: a\nnodes: 1\nnodes: 2\ncommand: [x.py]\n") == ["nodes: duplicate key (line 3); keep one"]


@pytest.mark.parametrize("text", ["", "- a\n", "name: [\n", "plain\n", "\tname: a\n"])
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, text) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*nope\.yaml: No such file"):
        load_job(tmp_path / "nope.yaml")


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ([], "at least 1"),
        ([""], "empty"),
        (["torchrun", "x.py"], "gpuyard starts torchrun"),
        (["/usr/bin/torchrun"], "gpuyard starts torchrun"),
        (["-m", "torch.distributed.run", "x.py"], "gpuyard starts torchrun"),
        (["python3", "x.py"], "torchrun starts Python"),
        (["-m"], "needs a module"),
        (["--nnodes=2", "x.py"], "as keys"),
        ("train.py", r"text, not a list of arguments, .*write command: \[train.py\]"),
    ],
)
def test_a_command_that_cannot_follow_torchrun_is_refused(command: object, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        parse_job({"name": "a", "command": command})


def test_without_torchrun_any_argv_is_accepted() -> None:
    assert parse_job({"name": "a", "launcher": "none", "command": ["python3", "x.py"]}).command == ["python3", "x.py"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEY", "AKIAIOSFODNN7EXAMPLE"),
        ("X", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
        ("HF", "hf_abcdefghijklmnopqrstuvwxyz"),
        ("URL", "postgres://user:hunter22@db/x"),
        ("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567"),
        ("PEM", "-----BEGIN RSA PRIVATE KEY-----"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("DB_PASSWORD", "hunter2"),
    ],
)
def test_values_that_look_like_secrets_are_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_job({"name": "a", "command": ["x.py"], "env": {name: value}})
    assert "secrets: {" in str(caught.value)
    assert name in str(caught.value)
    assert value not in str(caught.value)


TOKEN = "a1B2" * 10
BY_PASSES = [  # "A job is not trusted", 16: each was accepted
    {"command": ["x.py", f"--hf-token=hf_{TOKEN}"]},
    {"command": ["x.py", "--hf-token", f"hf_{TOKEN}"]},
    {"command": ["curl", "-H", f"Authorization: Bearer {TOKEN}"], "launcher": "none"},
    {"command": ["x.py", "--db-password=hunter2"]},
    {"command": ["x.py", "--db-password", "hunter2"]},
    {"command": ["env", "PGPASSWORD=hunter2", "psql"], "launcher": "none"},
    {"setup": ["pip", "install", f"--index-url=https://token:{TOKEN}@pypi.acme.io/simple"]},
    {"env": {"PGPASSWORD": "hunter2"}},
    {"env": {"DB_PASS": "hunter2"}},
    {"env": {"MYSQL_PWD": "hunter2"}},
    {"env": {"CONN": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={TOKEN}=="}},
    {"env": {"CI": f"glpat-{TOKEN}"}},
    {"env": {"HEADERS": f"x-team=nlp,authorization=Basic {TOKEN}"}},
    {"env": {"SAS": f"https://a.blob.core.windows.net/c?sv=2024-11-04&sp=r&sig={TOKEN}%3D"}},
    {"data": {"a": f"https://a.blob.core.windows.net/c?sv=2024-11-04&sig={TOKEN}"}},
    {"data": {"a": f"https://b.s3.amazonaws.com/k?X-Amz-Credential=x&X-Amz-Signature={TOKEN}"}},
    {"data": {"a": f"https://storage.googleapis.com/b/k?X-Goog-Signature={TOKEN}"}},
    {"labels": {"note": f"use-ghp_{TOKEN}"}},
    {"labels": {"password": "hunter2"}},
    {"secrets": {"HF_TOKEN": f"hf_{TOKEN}"}},
    {"env": {"NPM": f"npm_{TOKEN}"}},
    {"env": {"JWT": f"token eyJ{TOKEN}.eyJ{TOKEN}.x"}},
]


@pytest.mark.parametrize("keys", BY_PASSES)
def test_known_by_passes_of_the_secret_rule_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_job({"name": "a", "command": ["x.py"], **keys})
    assert "looks like a secret" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"command": ["x.py", "--max-token=2048", "--pad-token=<|end|>", "--token-file=/run/t", "--tokenizer", "gpt2", "--passes=3"]},
        {"command": ["x.py", "--password-file", "/run/secrets/db", "--secret", "--steps=10"]},
        {"command": ["x.py", "--model", "task-sk-learn-classification-of-images", "--sig=0.1", "--url=https://a.io/q?sig=short"]},
        {"env": {"COMPASS": "north", "PASS_RATE": "0.5", "PWD": "/srv", "SASL": "x", "TOKENIZERS_PARALLELISM": "false"}},
        {"env": {"SESSION": {"value": f"Bearer {TOKEN}", "secret": False}}},
        {"labels": {"team": "nlp", "token-budget": "100B"}},
        {"data": {"a": "s3://bucket/key?versionId=abc"}},
    ],
)
def test_text_that_only_resembles_a_secret_is_accepted(keys: dict[str, object]) -> None:
    assert parse_job({"name": "a", "command": ["x.py"], **keys}).name == "a"


@pytest.mark.parametrize(
    ("name", "value"), [("TOKENIZERS_PARALLELISM", "false"), ("TOKEN_FILE", "/run/secrets/token-of-mine"), ("KEYS", "a")]
)
def test_values_that_do_not_look_like_secrets_are_accepted(name: str, value: str) -> None:
    assert parse_job({"name": "a", "command": ["x.py"], "env": {name: value}}).env == {name: value}


@pytest.mark.parametrize("keys", [{"data": {"a": "s3://user:hunter22@host/x"}}, {"command": ["x.py", "AKIAIOSFODNN7EXAMPLE"]}])
def test_secrets_elsewhere_are_refused_too(keys: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_job({"name": "a", "command": ["x.py"], **keys})
    assert "looks like a secret" in str(caught.value)
    assert "hunter22" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


def test_a_recorded_spec_stays_readable_when_rules_become_stricter() -> None:
    old = {"name": "a", "command": ["x.py"], "env": {"DB_PASSWORD": "hunter2"}}
    assert JobSpec.model_validate(old, context=RECORDED).env == {"DB_PASSWORD": "hunter2"}


@pytest.mark.parametrize("text", ["name: a\npool: {{ pool }}\n", "name: a\n? [a, b]\n: c\n", "name: &a [*a]\n"])
def test_templates_non_scalar_keys_and_recursive_aliases_are_refused(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text)


def test_aliases_that_expand_to_billions_are_refused(tmp_path: Path) -> None:
    laughs = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
    for level in range(1, 12):
        laughs += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n"
    (tmp_path / "job.yaml").write_text(f"{laughs}name: a\ncommand: *a11\n")
    with pytest.raises(UsageError, match="too many values once its aliases are expanded, allowed: 100,000"):
        load_job(tmp_path / "job.yaml")
    (tmp_path / "job.yaml").write_text("name: a\nsetup: &s [pip, install, x]\ncommand: *s\n")
    assert load_job(tmp_path / "job.yaml")[0].command == ["pip", "install", "x"]


def test_reserved_and_duplicate_names_are_refused() -> None:
    with pytest.raises(UsageError, match="are reserved"):
        parse_job({"name": "a", "command": ["x.py"], "env": {"GPUYARD_ATTEMPT": "1"}})
    with pytest.raises(UsageError, match="set in secrets and in env"):
        parse_job({"name": "a", "command": ["x.py"], "env": {"A": "1"}, "secrets": {"A": "wandb"}})


def test_numbers_below_a_merge_key_stay_as_written(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("name: job\n<<: [{command: [train.py, 1.20]}, {env: {<<: {V: 3.10}}}]\n")
    spec, _ = load_job(file)
    assert (spec.command, spec.env) == (["train.py", "1.20"], {"V": "3.10"})


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"timeout": "367d"}, "timeout: too long, got 367d, allowed: at most 366d"),
        ({"queue_timeout": "9" * 30 + "d"}, "queue_timeout: too long"),
        ({"checkpoint": {"every": "400d"}}, "checkpoint.every: too long"),
        ({"retries": {"infra": 10**30}}, "retries.infra: too large"),
        ({"max_cost_usd": float("inf")}, "max_cost_usd: too large"),
        ({"image": ""}, "image: empty; write a value"),
        ({"pool": ""}, "pool: empty"),
        ({"code": ""}, "code: empty"),
        ({"labels": {"": "x"}}, "labels: a label without a name"),
    ],
)
def test_values_without_bounds_and_empty_names_are_refused(keys: dict[str, object], part: str) -> None:
    job = {"name": "job", "command": ["train.py"], **keys}
    with pytest.raises(UsageError, match=re.escape(part)):
        parse_job(job)
    JobSpec.model_validate(job, context=RECORDED)  # a record from before the rule stays readable


def test_numbers_in_text_stay_as_written(tmp_path: Path) -> None:
    text = "name: a\ncommand: [t.py, --tag, 1.20, 6.0e+2, 7]\nenv: {V: 3.10, N: 8}\nlabels: {release: 2.0}\n"
    text += "gpus: 8\nmax_cost_usd: 1.50\nnodes: 2\n"
    (tmp_path / "job.yaml").write_text(text)
    spec, _ = load_job(tmp_path / "job.yaml")
    assert spec.command == ["t.py", "--tag", "1.20", "6.0e+2", "7"]
    assert (spec.env, spec.labels, spec.gpus) == ({"V": "3.10", "N": "8"}, {"release": "2.0"}, "8")
    assert (spec.max_cost_usd, spec.nodes) == (1.5, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAD_TOKEN", "<|reserved_special_token_0|>"),
        ("TOKEN_FILE", "secrets/hf/token.txt"),
        ("X_TOKEN_MIX", "0.25,0.25,0.25,0.25,0.0"),
        ("MODEL", "hf_internal_testing_tiny_random_bert"),
    ],
)
def test_names_of_tokens_and_paths_are_no_secrets(name: str, value: str) -> None:
    assert parse_job({"name": "a", "command": ["x.py"], "env": {name: value}}).env == {name: value}


def test_a_variable_can_be_marked_as_no_secret() -> None:
    marked = {"value": "0123456789abcdef0123456789abcdef", "secret": False}
    assert parse_job({"name": "a", "command": ["x.py"], "env": {"SESSION_TOKEN": marked}}).env == {"SESSION_TOKEN": marked["value"]}
    with pytest.raises(UsageError, match=r"looks like a secret.*env: \{SESSION_TOKEN: \{value: \.\.\., secret: false\}\}"):
        parse_job({"name": "a", "command": ["x.py"], "env": {"SESSION_TOKEN": marked["value"]}})
    with pytest.raises(UsageError, match=r"env\.SESSION_TOKEN"):
        parse_job({"name": "a", "command": ["x.py"], "env": {"SESSION_TOKEN": {**marked, "secret": True}}})


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"data": {"train": "s3://b/a", "TRAIN": "s3://b/b"}}, "data: two names for one variable, got train, TRAIN; rename one"),
        ({"env": {"A": "x\0y"}}, "env: contains a NUL character"),
        ({"command": ["x.py", "\ud800"]}, "command: contains an unpaired surrogate"),
        ({"labels": {"a": "\udfff"}}, "labels: contains an unpaired surrogate"),
        ({"env": {"BIG": "x" * 140_000}}, "env: too long for a process, got 140004 bytes, allowed: <= 131071 bytes"),
        ({"env": {f"V{i}": "x" * 100_000 for i in range(11)}}, "env: too long for a process, got 1100034 bytes, allowed: <= 1048576"),
        ({"data": {"a": f"s3://b/{'x' * 140_000}"}}, "data: too long for a process"),
        ({"command": ["x.py", '"' * 70_000]}, "command: too long for a process, got 14"),
        ({"setup": ["x" * 140_000]}, "setup: too long for a process"),
    ],
)
def test_a_value_that_no_process_can_take_is_refused(keys: dict[str, object], part: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_job({"name": "a", "command": ["x.py"], **keys})
    assert part in str(refused.value)
