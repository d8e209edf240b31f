"""Steps that tests of a service share: a program for its nodes, small jobs, waiting for states and output."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import JobSpec
from gpuyard.training_jobs.state import Exit, State, exit_for
from gpuyard.training_jobs.status import RunStatus
from tests.helpers.local_pool import job
from tests.helpers.waiting import WAIT_LIMIT_S, wait_for

_BEFORE = """
import itertools
import json, os, signal, sys, time
name, submission = os.environ["GPUYARD_RUN_ID"], int(os.environ["GPUYARD_SUBMISSION"])
attempt = submission + int(os.path.basename(os.getcwd()).split("-")[0]) + 1  # numbered by the node's folder
"""
_AFTER = """
if rank == 0 or name.startswith("fails"):  # node 1 fails at once, and its service may end node 0 before node 0 has claimed
    put(f"attempts/{attempt}.json", {"attempt": attempt, "submission": submission})
def leave(*_):
    say("leaves")
    os._exit(75)
signal.signal(signal.SIGTERM, leave)
say("runs")
if name.startswith("fails") and rank == 1:
    put(f"output/attempt-{attempt}/node-1.json", {"exit_code": 7, "tail": ["boom"]})
    sys.exit(7)
if name.startswith("stays") or (name.startswith("returns") and attempt == 1):
    time.sleep(300)
if name.startswith("resumes") and attempt == 1:
    sys.exit(75)
say("is done")
"""


def node_program(service: str) -> str:
    """Return the program of a node: it claims its attempt as launch does, and behaves as the run's name says.

    The `service` lines must define `rank`, `put(path, data)` (into the run's folder), and `say(word)`.
    """
    return _BEFORE + service + _AFTER


def two_node_job(name: str, **keys: object) -> JobSpec:
    """Return a small job of 2 nodes."""
    return job(name, **{"nodes": 2, **keys})


def wait_for_state(runner: Runner, run: str, *states: State) -> RunStatus:
    """Return the status of a run once it is in one of these states."""
    return wait_for(lambda: status if (status := runner.status(run)).state in states else None, lambda: runner.status(run))


def wait_for_output(text: Callable[[], str], words: str) -> None:
    """Wait until these words are in the output of all nodes."""
    wait_for(lambda: words in text(), text)


def run_to_end(runner: Runner, name: str, **keys: object) -> tuple[RunStatus, Exit]:
    """Run a job. Return its last status, and the exit code of a wait."""
    status = runner.wait(runner.submit(two_node_job(name, **keys), None).status.run_id)
    return status, exit_for(status.state, status.reason)


def logs_during_cancel(runner: Runner, run: str) -> list[str]:
    """Return the sorted log lines of `logs(follow=True)` while the run is cancelled."""
    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(lambda: [line.text for line in runner.logs(run, follow=True)])
        runner.cancel(run)
        return sorted(followed.result(WAIT_LIMIT_S))


def runner_with_fast_clock(runner: Runner, step_s: int = 60) -> Runner:
    """Return a runner for the same pools whose clock advances by `step_s` each time it is read."""
    later = itertools.count(0, step_s)
    return Runner(runner._targets, clock=lambda: float(next(later)), elapsed=lambda: float(next(later)), sleep=lambda _: None)
