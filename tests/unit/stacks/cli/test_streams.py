"""Commands whose stdout or stderr closes, fills up or lacks characters: the exit code stays true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import State
from gpuyard.training_jobs.target import parse_target
from tests.helpers.local_pool import job, make_target, target_document

ROOT = Path(__file__).resolve().parents[4]
_NAP = [sys.executable, "-c", "import time; time.sleep(120)"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    target = make_target(tmp_path)
    (tmp_path / "targets.json").write_text(json.dumps({"local": target_document(tmp_path)}))
    yield tmp_path
    runner = Runner({"local": target})
    for status in runner.runs():
        runner.cancel(status.run_id)


def shell(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell line in which `gpuyard` is the command line of this checkout."""
    function = f"gpuyard() {{ {sys.executable} -c 'from gpuyard.stacks.cli import main; main()' \"$@\"; }}"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "GPUYARD_TARGETS": str(folder / "targets.json"), **environment}
    env.pop("PYTHONUNBUFFERED", None)  # with it, the interpreter has nothing left to write when it exits
    argv = ["bash", "-c", f"{function}\nset -o pipefail\n{command}"]
    return subprocess.run(argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)


def write_job(folder: Path, command: list[str]) -> None:
    (folder / "job.yaml").write_text(json.dumps({"name": "hello", "launcher": "none", "preflight": "skip", "command": command}))


def test_a_reader_that_exits_does_not_fail_a_running_job(folder: Path) -> None:
    write_job(folder, _NAP)
    done = shell(folder, "gpuyard submit job.yaml --wait | head -n 1")
    assert done.returncode == 130, done.stderr
    assert done.stdout.startswith("run hello-")
    assert "the run was not stopped. Wait: gpuyard wait hello-" in done.stderr
    assert "Traceback" not in done.stderr
    (status,) = Runner({"local": parse_target(target_document(folder))}).runs()
    assert status.state in {State.PENDING, State.RUNNING}


def test_a_full_disk_is_not_a_document(folder: Path) -> None:
    Runner({"local": parse_target(target_document(folder))}).submit(job(launcher="none", command=_NAP), None)
    unknown = shell(folder, "gpuyard status nope >&-")  # nothing was to be printed, so nothing is incomplete
    assert unknown.returncode == 7, unknown.stderr
    assert shell(folder, "gpuyard list --json > /dev/full 2>&1").returncode == 8
    for line in ("gpuyard list --json > /dev/full", "gpuyard list --json >&-"):
        done = shell(folder, line)
        assert done.returncode == 8, (line, done.stderr)
        assert "stdout cannot be written" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_closed_stderr_costs_no_document(folder: Path) -> None:
    write_job(folder, [sys.executable, "-c", "print(1)"])
    for number, close in enumerate(("2>&-", "2> /dev/full")):
        done = shell(folder, f"gpuyard submit job.yaml --request-key k{number} --wait --json {close}")
        assert done.returncode == 0
        assert json.loads(done.stdout)["status"]["state"] == "SUCCEEDED"


@pytest.mark.parametrize("close", ["2>&-", "2> /dev/full", "> /dev/full 2>&1", "> /dev/full 2>&-"])
def test_a_message_that_cannot_be_written_does_not_change_the_exit_code(folder: Path, close: str) -> None:
    unknown = shell(folder, f"gpuyard status nope {close}")
    assert unknown.returncode == 7


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path, closed: str) -> None:
    """Messages of C libraries go to descriptor 2. Without a guard, they would go into the first file that the command opens."""
    code = "from gpuyard.stacks.cli.streams import guarded_streams\nwith guarded_streams():\n    print(open('file', 'w').fileno() > 2)"
    line = f'{sys.executable} -c "{code}" {closed}'
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


def test_characters_that_stdout_lacks_are_escaped(folder: Path) -> None:
    write_job(folder, [sys.executable, "-c", "print('caf\\u00e9')"])
    line = "gpuyard submit job.yaml --request-key k --wait && gpuyard logs $(gpuyard list | tail -1 | cut -d' ' -f1)"
    done = shell(folder, line, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "caf\\xe9" in done.stdout
