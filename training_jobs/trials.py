"""Run the trials of a sweep, a few at once. Every trial is one idempotent run, so a sweep that is typed again continues."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from ..plain_data import PlainDict
from .code_files import job_code_folder
from .overrides import apply_settings
from .runner import Runner
from .spec import JobSpec, load_job
from .status import RunStatus
from .sweep import Trial, trial_job

__all__ = ["Stop", "StoppedError", "TrialJob", "load_trials", "run_trials", "trial_key"]


class StoppedError(Exception):
    """Ends the thread of a trial after `Stop.set`. The trial's run continues."""


class Stop:
    """Ends waiting in all threads. `sleep` is the Runner's."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Let every sleep end with StoppedError."""
        self._event.set()

    def sleep(self, seconds: float) -> None:
        """Sleep. Raises StoppedError once `set` was called."""
        if self._event.wait(seconds):
            raise StoppedError


@dataclass(frozen=True)
class TrialJob:
    """A trial with its validated job."""

    trial: Trial
    spec: JobSpec


def load_trials(path: str, changes: Sequence[tuple[str, str]], key: str, trials: Sequence[Trial]) -> tuple[list[TrialJob], Path | None]:
    """Return the validated job of each trial of a job file, and its code folder. Raises UsageError before anything is submitted.

    `changes`: settings for all trials, as path and value. `key`: the sweep's name.
    """
    jobs: list[TrialJob] = []
    base = Path()
    for trial in trials:
        spec, base = load_job(path, functools.partial(_changed, changes=changes, key=key, trial=trial))
        jobs.append(TrialJob(trial, spec))
    code = jobs[0].spec.code
    return jobs, job_code_folder(base, code) if code is not None else None


def _changed(data: PlainDict, *, changes: Sequence[tuple[str, str]], key: str, trial: Trial) -> PlainDict:
    return trial_job(apply_settings(data, changes), key, trial)


def trial_key(key: str, trial: Trial) -> str:
    """Return the request key of a trial: the same for the same values in the same sweep."""
    return f"{key}/{trial.digest}"


def run_trials(
    runner: Runner,
    jobs: Sequence[TrialJob],
    code_dir: Path | None,
    *,
    key: str,
    at_once: int,
    stop: Stop,
    retry: bool = False,
    leave_out: Collection[Path] = (),
    on_status: Callable[[Trial, RunStatus], None] = lambda *_: None,
) -> list[RunStatus]:
    """Submit the trials in order, at most `at_once` unfinished ones at a time, and wait for all. Return their last statuses.

    A trial that was submitted before is adopted, and continues if it is STOPPED. `retry` starts failed trials again. `stop` is the one
    whose `sleep` the runner has. On the first error, and on an interrupt, no more trials start, running ones continue without this
    process, and the error is raised.
    """

    def one(job: TrialJob) -> RunStatus:
        submitted = runner.submit(job.spec, code_dir, key=trial_key(key, job.trial), retry=retry, leave_out=leave_out)
        on_status(job.trial, submitted.status)
        return runner.wait(submitted.status.run_id, lambda status: on_status(job.trial, status))

    with ThreadPoolExecutor(at_once) as pool:
        futures: list[Future[RunStatus]] = [pool.submit(one, job) for job in jobs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            return [future.result() for future in futures if future.done()]
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
