"""The README is a test: its program runs, its job is valid, and a shell runs every command on it. Hand-written tables match the code."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gpuyard.components.spec import LimitsSpec
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.launch import hook
from gpuyard.training_jobs.launch.environment import worker_environment
from gpuyard.training_jobs.launch.topology import NodePlacement
from gpuyard.training_jobs.spec import JobSpec, load_job
from gpuyard.training_jobs.state import MEANING
from tests.unit.conftest import Record, record
from tools import venv

__all__ = ["record"]  # a fixture of the unit tests, used here too

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str, page: str = "README.md") -> list[str]:
    """Return the code blocks of one language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130
    assert 550 <= len(README.split()) <= 900


@pytest.mark.parametrize("preview", [True, False])
def test_the_ten_lines_of_python_declare_a_yard(record: Record, preview: bool) -> None:
    (program,) = blocks("python")
    assert len([line for line in program.splitlines() if line.strip()]) <= 10
    recording = record(lambda: exec(compile(program, "README.md", "exec"), {}), preview=preview)  # noqa: S102 our own page
    assert set(recording.exports) | recording.unknown == {"job_targets"}
    if not preview:
        assert recording.exports["job_targets"]["gpus"]["stack"] == "gpuyard/local"


def test_the_job_on_the_page_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "nightly.yaml").write_text(text)
    spec, _ = load_job(tmp_path / "nightly.yaml")
    assert spec.retries.preempted == 20


def test_the_template_names_every_key() -> None:
    text = (ROOT / "examples/template.yaml").read_text()
    named = set(re.findall(r"^#? ?([a-z_]+):", text, re.MULTILINE))
    assert named >= set(JobSpec.model_fields)
    spec, _ = load_job(ROOT / "examples/template.yaml")
    assert spec.name == "template"


JOB_FILES = sorted(path for path in ROOT.glob("examples/**/*.yaml"))


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_editor_accepts_every_example(path: Path) -> None:
    text = path.read_text()
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named, "the first line names the schema for editors"
    found = json.loads((path.parent / named[1]).read_text())
    assert list(jsonschema.Draft202012Validator(found).iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    ("keys", "valid"),
    [
        ({"env": {"PAD": {"value": "[PAD]", "secret": False}, "V": 3.10}, "command": ["t.py", 1.20], "labels": {"v": 2}}, True),
        ({"env": {"PAD": {"value": "[PAD]", "secret": True}}}, False),
        ({"nodez": 2}, False),
        ({"command": "train.py"}, False),
        ({"timeout": "12"}, False),
    ],
)
def test_an_editor_accepts_what_submit_accepts(tmp_path: Path, keys: dict[str, object], valid: bool) -> None:
    job = {"name": "x", "command": ["t.py"], **keys}
    found = json.loads((ROOT / "docs/job.schema.json").read_text())
    assert jsonschema.Draft202012Validator(found).is_valid(job) == valid
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    with contextlib.nullcontext() if valid else pytest.raises(UsageError):
        load_job(tmp_path / "job.yaml")


def test_the_error_on_the_page_about_jobs_is_the_real_one(tmp_path: Path) -> None:
    shown = next(block for block in blocks("text", "docs/job.md") if block.startswith("$ gpuyard submit job.yaml"))
    job = "name: a\ncommand: [train.py]\ntimeout: 1:30\nnodez: 2\nenv: {WANDB_API_KEY: 0123456789abcdef0123456789abcdef01234567}\n"
    (tmp_path / "job.yaml").write_text(job)
    with pytest.raises(UsageError) as caught:
        load_job(tmp_path / "job.yaml")
    printed = set(f"error: {caught.value}".replace(f"{tmp_path}/", "").splitlines())
    for line in shown.splitlines()[1:]:
        start, _, end = line.partition("...")
        assert any(real.startswith(start) and real.endswith(end) for real in printed), line


def test_the_page_of_exit_codes_has_every_code() -> None:
    page = (ROOT / "docs/exit-codes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", page, re.MULTILINE))
    assert rows == {str(int(code)): meaning for code, meaning in MEANING.items()}


def test_the_page_about_jobs_names_only_existing_variables_and_calls(tmp_path: Path) -> None:
    page = (ROOT / "docs/job.md").read_text()
    where = NodePlacement(0, 1, "127.0.0.1", "127.0.0.1", 1, None)
    job: Any = {
        "env": {},
        "data": {"tokens": "s3://b/t"},
        "checkpoint": {"every_s": 1, "keep": 1},
        "launcher": "none",
        "secrets": {},
        "fabric": None,
    }
    variables = worker_environment(where, job, 1, "file:///r", tmp_path / "stop", tmp_path / "report", tmp_path / "data") | dict.fromkeys(
        ("GPUYARD_RUN_ID", "GPUYARD_RETURN_S", "GPUYARD_CHANNEL_SECRET"), ""
    )  # launch takes these from the service
    named = {name for name in re.findall(r"`(GPUYARD_[A-Z_]+)`", page) if not name.endswith("_")}
    assert named <= set(variables)
    assert "GPUYARD_DATA_TOKENS" in variables
    for call in re.findall(r"^\| `(\w+)\(", page, re.MULTILINE):
        assert callable(getattr(hook, call)), call


def test_both_rooms_have_the_same_limits() -> None:
    """The room stacks passes the one to the other without a table in between."""
    from gpuyard.training_jobs.target import Limits

    assert set(Limits.model_fields) == set(LimitsSpec.model_fields)


def copied_checkout(folder: Path) -> Path:
    """Copy this checkout as a clone would be, with a shorter demo and the present .venv (a new one costs minutes and gigabytes)."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    job = folder / "examples/gpt-local.yaml"
    text = job.read_text()
    assert "steps=400" in text
    job.write_text(text.replace("steps=400", "steps=200"))  # half as long, and the model still beats what it has to
    (folder / ".venv").mkdir()
    for entry in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / entry).symlink_to(ROOT / ".venv" / entry)
    (folder / ".venv" / "gpuyard.json").write_text(json.dumps({"demo": venv.digest(folder, "demo")}))
    return folder


@pytest.mark.engine
def test_every_command_on_the_page(tmp_path: Path) -> None:
    """Type the commands in order, in one shell, in a path with a space. `make test` itself runs this test."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    copied_checkout(folder)
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert "make test" in commands
    assert "make test" in (ROOT / ".ci/run").read_text()
    typed = [line for line in commands if line != "make test"]
    assert typed[0] == "make demo"
    assert typed[-1] == "make down"
    typed.insert(1, "make demo")  # "again, it adopts the finished run"
    script = "set -e\n" + "\n".join(f"printf '\\001%s\\n' '{line}'\n{line}" for line in typed)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COV", "PYTEST"))}
    shell = subprocess.run(["bash", "-c", script], cwd=folder, env=kept, capture_output=True, text=True, timeout=580, check=False)
    assert shell.returncode == 0, f"{shell.stdout[-3000:]}\n{shell.stderr[-3000:]}"
    outputs = [part.partition("\n")[2] for part in shell.stdout.split("\001")[1:]]
    first, second = outputs[0], outputs[1]
    assert re.search(r"drill: kill -9 rank 3 on node 1 \.\.\. training again in \d+\.\d s at step \d+", first), first
    assert "beaten" in first
    assert "adopted: it is SUCCEEDED" in second
    assert "drill" not in second
    answers = dict(zip(typed, outputs, strict=True))
    assert f"$ gpuyard plan --stack dev-aws\n{answers['gpuyard plan --stack dev-aws']}" in blocks("text", str(folder / "docs/plan.md"))
    submits = [answers[line] for line in typed if "try-1" in line]
    assert "created" in submits[0]
    again = json.loads(submits[1])
    assert (again["created"], again["status"]["state"]) == (False, "SUCCEEDED")
    assert not (folder / ".yard").exists()
    left = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True, check=False).stdout
    assert left == ""
    unchanged = [name for name in ("stacks/Pulumi.local.yaml", "Pulumi.yaml") if (folder / name).read_bytes() == (ROOT / name).read_bytes()]
    assert len(unchanged) == 2
