"""The demo's output lines, its environment variables and its progress line."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools import demo, local_env
from tools.engine.search import Engine
from tools.progress import Progress, Speed, clock


def _status(**metrics: Any) -> dict[str, Any]:
    known = {"step": None, "steps": None, "loss": None, "tokens_per_s": None}
    return {"state": "RUNNING", "phase": "setup", "metrics": {**known, **metrics}}


def test_the_line_of_a_run() -> None:
    speed = Speed()
    assert demo._line(_status(), speed) == "RUNNING setup"
    assert demo._line({**_status(), "state": "PENDING", "phase": None}, speed) == "PENDING"
    assert demo._line({**_status(), "phase": "running"}, speed) == "RUNNING"
    speed.left(130, 400, now=0.0)
    line = demo._line(_status(step=180, steps=400, loss=2.714, tokens_per_s=41_300.0), speed)
    assert line.startswith("step 180/400  loss 2.71  41.3k tok/s")


def test_the_time_left_uses_the_last_seconds_and_resets_after_a_recovery() -> None:
    speed = Speed()
    assert speed.left(10, 100, now=0.0) is None
    assert speed.left(20, 100, now=2.0) == pytest.approx(16.0)
    assert speed.left(15, 100, now=4.0) is None
    assert speed.left(20, 100, now=5.0) == pytest.approx(16.0)
    assert speed.left(60, 100, now=26.0) is None


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (31.9, "0:31"), (129, "2:09"), (3723, "1:02:03")])
def test_the_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_progress_without_a_terminal_prints_one_line_per_step() -> None:
    stream = io.StringIO()
    progress = Progress(stream, "pulumi: ")
    for count in range(50):
        progress.say(f"step 1 of 2: compiling, {count} packages")
    progress.say("linking")
    progress.end()
    assert stream.getvalue().splitlines() == ["pulumi: step 1 of 2: compiling, 0 packages  0:00", "pulumi: linking  0:00"]


def test_the_lines_of_a_run_have_no_clock_and_change_with_its_state() -> None:
    stream = io.StringIO()
    progress = Progress(stream, timed=False)
    for text, state in [("step 1/9", "RUNNING"), ("step 2/9  0:05 left", "RUNNING"), ("step 2/9  RECOVERING", "RECOVERING")]:
        progress.say(text, state)
    assert stream.getvalue().splitlines() == ["step 1/9", "step 2/9  RECOVERING"]


def test_a_step_ends_with_its_seconds_in_one_column(capsys: pytest.CaptureFixture[str]) -> None:
    demo.step(1, "python", ".venv from requirements.lock", 38.4)
    demo.step(2, "pulumi", "v3.259.0 found on PATH", 0.2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/5] python     .venv from requirements.lock ")
    assert lines[1].startswith("[2/5] pulumi     v3.259.0 found on PATH ")
    assert {len(line) for line in lines} == {demo._WIDTH + 7}
    assert lines[0].endswith("   38 s")


def test_the_newest_checkpoint_is_named_relative_to_the_checkout() -> None:
    assert demo._newest(demo.ROOT / "nowhere") == "./nowhere"


def test_the_newest_checkpoint_is_the_highest_number(tmp_path: Path) -> None:
    for name in ("90", "400", "tmp-500"):
        (tmp_path / name).mkdir()
    assert demo._newest(tmp_path) == str(tmp_path / "400")


def test_the_local_environment_survives_a_shell_and_spaces(tmp_path: Path) -> None:
    root = tmp_path / "a b's"
    base = {"PATH": "/usr/bin:/bin", "PULUMI_STACK": "prod", "PULUMI_ACCESS_TOKEN": "x", "HOME": "/h"}
    env = local_env.environment(root, root / "engine", base)
    assert (root / ".yard" / "state").is_dir()
    assert env["PATH"] == f"{root}/engine:{root}/.venv/bin:/usr/bin:/bin"
    assert local_env.path(root, root / "engine", env["PATH"]) == env["PATH"]
    assert env["PULUMI_CONFIG_PASSPHRASE"] == ""
    assert env["PULUMI_BACKEND_URL"] == f"file://{root}/.yard/state"
    assert env["HOME"] == "/h"
    assert not {"PULUMI_STACK", "PULUMI_ACCESS_TOKEN"} & env.keys()
    assert not [value for name, value in local_env.settings(root).items() if value.startswith("/") and not value.startswith(str(root))]


def test_make_env_prints_lines_for_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "a b's"
    monkeypatch.setattr(local_env, "ROOT", root)
    monkeypatch.setattr(local_env, "ensure", lambda say: Engine(root / "engine", "v3.259.0", "found on PATH"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert local_env.main() == 0
    shell = (
        capsys.readouterr().out + 'printf "%s|" "$PULUMI_BACKEND_URL" "${PULUMI_CONFIG_PASSPHRASE-unset}" "${PULUMI_STACK-unset}" "$PATH"'
    )
    ran = subprocess.run(["sh", "-c", shell], env={"PULUMI_STACK": "prod"}, capture_output=True, text=True, check=True)
    assert ran.stdout.split("|") == [f"file://{root}/.yard/state", "", "unset", f"{root}/engine:{root}/.venv/bin:/usr/bin:/bin", ""]
