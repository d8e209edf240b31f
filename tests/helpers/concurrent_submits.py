"""Checks of concurrent submits, and of submits that crash at any line and are repeated: there is exactly one job."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sized
from concurrent.futures import ThreadPoolExecutor

from gpuyard.training_jobs.runner import Submitted
from gpuyard.training_jobs.state import State
from tests.helpers.crash_at_line import crash_at


def submit_concurrently(pipelines: int, submit: Callable[[], Submitted]) -> list[Submitted]:
    """Return the results of `pipelines` submits at the same instant."""
    ready = threading.Barrier(pipelines)

    def pipeline(_: int) -> Submitted:
        ready.wait()
        return submit()

    with ThreadPoolExecutor(pipelines) as pool:
        return list(pool.map(pipeline, range(pipelines)))


def check_concurrent_submits(pipelines: int, rounds: int, submit: Callable[[str], Submitted], jobs: Sized) -> None:
    """Fail unless in each round one pipeline creates the job of its key, and all get the same run."""
    for number in range(rounds):
        found = submit_concurrently(pipelines, functools.partial(submit, f"round-{number}"))
        assert [submitted.created for submitted in found].count(True) == 1
        assert len({submitted.status.run_id for submitted in found}) == 1
        assert len(jobs) == number + 1


def check_crashes_at_lines(
    submit: Callable[..., Submitted], product_files: tuple[str, ...], count_jobs: Callable[[str], int], jobs: Sized, every: int = 1
) -> None:
    """Fail unless the next submit completes one that crashed at a line of `product_files`. `count_jobs`: returns a run's number of jobs."""
    submit("warm")  # fills the caches of clients and objects, so that every later submit runs the same lines
    lines = crash_at(0, lambda: submit("whole"), product_files).lines
    assert lines > 60
    tried = range(1, lines + 1, every)
    for line in tried:
        key = f"line-{line}"
        assert crash_at(line, functools.partial(submit, key), product_files).died_at is not None
        finished = submit(key, ahead_s=61)
        assert finished.status.state is State.PENDING
        assert count_jobs(finished.status.run_id) == 1, f"line {line}"
        assert submit(key, ahead_s=122).created is False
    assert len(jobs) == len(tried) + 2
