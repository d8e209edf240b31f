"""Nothing is left of a local job: detached processes, stopped supervisors, and files in the pool that are not gpuyard's."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from gpuyard.training_jobs.backends.local import cgroup
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Reason, State
from tests.helpers.local_pool import starts
from tests.helpers.local_processes import Start
from tests.helpers.runner_steps import wait_for_state
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers and control groups are Linux's")

DETACHES = """
import os, subprocess, sys, time
for _ in range(2):  # a double fork into a session of its own, without an environment
    if os.fork():
        os.waitpid(-1, os.WNOHANG)
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    os.setsid()
with open(sys.argv[1] + ".part", "w") as file:  # a test that sees the file sees the whole number
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".part", sys.argv[1])
os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(120)"], {})
"""


@pytest.fixture
def escaped(tmp_path: Path, node_program: None) -> Path:
    """Make each node start a process that detaches itself in every way, and writes its pid into the returned file."""
    (tmp_path / "detaches.py").write_text(DETACHES)
    program, pid = tmp_path / "node_program.py", tmp_path / "escaped.pid"
    call = f"subprocess.run([sys.executable, {str(tmp_path / 'detaches.py')!r}, {str(pid)!r}, '0.2'])\n"
    program.write_text(program.read_text().replace('print("node"', f'{call}print("node"'))
    return pid


def is_running(pid_file: Path) -> bool:
    pid = int(pid_file.read_text())
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def supervisor(tmp_path: Path, run: str) -> int:
    return int(json.loads((tmp_path / f"pool/leases/{run}.json").read_text())["pid"])


def test_a_detached_process_does_not_outlive_its_job(escaped: Path, runner: Runner, start: Start) -> None:
    assert runner.wait(start(nodes=1)).state is State.SUCCEEDED
    assert not is_running(escaped)


@pytest.mark.skipif(cgroup._own_folder() is None or not os.access(str(cgroup._own_folder()), os.W_OK), reason="no writable cgroup v2")
def test_a_control_group_finds_what_a_killed_supervisor_leaves(escaped: Path, runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=1, env={"NAP": "60"})
    wait_for(escaped.exists)
    wait_for(lambda: is_running(escaped))
    os.kill(supervisor(tmp_path, run), signal.SIGKILL)
    wait_for(lambda: runner.status(run).state is State.FAILED)
    assert not is_running(escaped)
    (job,) = (tmp_path / "pool/jobs").iterdir()
    assert not (cgroup._own_folder() or Path()).joinpath(f"gpuyard-{job.name}").exists()


def test_cancel_kills_a_stopped_supervisor_and_all_that_it_started(escaped: Path, runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=1, env={"NAP": "60"})
    wait_for_state(runner, run, State.RUNNING)
    wait_for(escaped.exists)
    pid = supervisor(tmp_path, run)
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: f"kill -CONT {pid}" in (runner.status(run).detail or ""))
    status = runner.cancel(run)
    assert (status.state, status.detail) == (State.CANCELLED, "cancelled: its supervisor and all its processes were killed")
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert not is_running(escaped)


def test_a_stopped_supervisor_does_not_outlive_the_time_limit(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=1, env={"NAP": "60"}, timeout="30s")
    wait_for_state(runner, run, State.RUNNING)
    os.kill(supervisor(tmp_path, run), signal.SIGSTOP)
    (state,) = tmp_path.glob(f"pool/jobs/{run}.0-*/job.json")
    document = json.loads(state.read_text())
    state.write_text(json.dumps(document | {"started_at": time.time() - 40}))
    status = runner.wait(run)
    assert (status.state, status.reason) == (State.FAILED, Reason.TIMEOUT)


def test_cancel_reports_its_result(runner: Runner, start: Start, tmp_path: Path) -> None:
    deaf, waiting = start("deaf", nodes=2, env={"NAP": "60", "DEAF": "1"}), start("waiting", nodes=2)
    wait_for(lambda: len(starts(tmp_path, deaf)) == 2)
    assert runner.cancel(waiting).detail == "cancelled: it had not started"
    assert runner.cancel(deaf).detail == "cancelled: node(s) 0, 1 did not exit within 1 s and were killed"


@pytest.mark.parametrize(
    ("name", "text"),
    [("queue/notes.txt", "x"), ("queue/1-2-3", "x"), ("leases/a.json", "{}"), ("leases/b.json", "[1"), ("leases/c.json", "[]")],
)
def test_a_stray_file_is_named_and_stops_nothing(name: str, text: str, runner: Runner, start: Start, tmp_path: Path) -> None:
    (tmp_path / "pool/queue").mkdir(exist_ok=True)
    (tmp_path / "pool" / name).write_text(text)
    first, second = start("first", nodes=2, env={"NAP": "0.5"}), start("second", nodes=2)
    assert f"ignored files in {tmp_path}/pool: {name}" in (runner.status(second).detail or "")
    assert runner.wait(first).state is runner.wait(second).state is State.SUCCEEDED
    assert (tmp_path / "pool" / name).exists()


def test_a_damaged_job_entry_hides_no_other_job(runner: Runner, start: Start, tmp_path: Path) -> None:
    bad, good = start("bad", nodes=1), start("good", nodes=1)
    runner.wait(bad)
    (entry,) = tmp_path.glob(f"pool/jobs/{bad}.0-*/job.json")
    entry.write_text("{}")
    assert runner.wait(good).state is State.SUCCEEDED
    assert {status.run_id for status in runner.runs()} == {bad, good}
