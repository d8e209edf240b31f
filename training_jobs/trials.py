"""Run the trials of a sweep, a few at once. Every trial is one idempotent run, so a sweep that is typed again continues."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..plain_data import PlainDict
from .code_files import job_code_folder
from .errors import ConflictError
from .overrides import apply_settings
from .runner import Runner, Submitted
from .spec import JobSpec, load_job, parse_job
from .state import Reason, State
from .status import RunStatus
from .sweep import Trial, trial_job

__all__ = ["PlannedTrials", "Stop", "StoppedError", "SweepFile", "TrialJob", "TrialSource", "read_sweep_file", "run_trials"]

_OnStatus = Callable[[Trial, RunStatus], None]


class StoppedError(Exception):
    """Raised in a trial's thread after `Stop.set`, to end the thread. The trial's run continues."""


class Stop:
    """Ends the waits of all trials' threads. The Runner must use this object's `sleep`."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Make every `sleep` raise StoppedError, now and later."""
        self._event.set()

    def sleep(self, seconds: float) -> None:
        """Sleep. Raises StoppedError once `set` was called."""
        if self._event.wait(seconds):
            raise StoppedError


@dataclass(frozen=True)
class TrialJob:
    """A trial with its validated job and request key. `chosen`: true while its values are not in the journal.

    Until then, another process may choose other values.
    """

    trial: Trial
    spec: JobSpec
    key: str
    chosen: bool = False


class TrialSource(Protocol):
    """The trials of a sweep. Several threads request the jobs of the trials, in order."""

    @property
    def count(self) -> int: ...  # noqa: D102

    def job(self, number: int) -> TrialJob: ...  # noqa: D102


@dataclass(frozen=True)
class SweepFile:
    """A job file with the settings for all trials, as read at the start of a sweep: later edits of the file change no trial."""

    path: str
    content: PlainDict
    spec: JobSpec
    code_dir: Path | None

    def trial_spec(self, key: str, trial: Trial) -> JobSpec:
        """Return the validated job of a trial. `key`: the sweep's name. Raises UsageError."""
        return parse_job(trial_job(self.content, key, trial), self.path)


def read_sweep_file(path: str, changes: Sequence[tuple[str, str]]) -> SweepFile:
    """Read a job file. `changes`: settings for all trials, as path and value. Raises UsageError."""
    contents: list[PlainDict] = []

    def changed(data: PlainDict) -> PlainDict:
        contents.append(apply_settings(data, changes))
        return contents[0]

    spec, base = load_job(path, changed)
    return SweepFile(path, contents[0], spec, job_code_folder(base, spec.code) if spec.code is not None else None)


class PlannedTrials:
    """Trials whose values are known from the start. A trial's request key contains a digest of its values.

    Raises UsageError for an invalid job.
    """

    def __init__(self, file: SweepFile, key: str, trials: Sequence[Trial]) -> None:
        self.jobs = [TrialJob(trial, file.trial_spec(key, trial), f"{key}/{trial.digest}") for trial in trials]

    @property
    def count(self) -> int:
        """The number of trials."""
        return len(self.jobs)

    def job(self, number: int) -> TrialJob:
        """Return the job of a trial. Numbers begin with 1."""
        return self.jobs[number - 1]


def run_trials(
    runner: Runner,
    source: TrialSource,
    code_dir: Path | None,
    *,
    at_once: int,
    stop: Stop,
    retry: bool = False,
    leave_out: Collection[Path] = (),
    on_status: _OnStatus = lambda *_: None,
) -> list[tuple[TrialJob, RunStatus]]:
    """Submit the trials in order, at most `at_once` unfinished ones at a time, and wait for all. Return their last statuses.

    A trial that was submitted before is adopted, and continues if it is STOPPED. `retry` starts failed trials again, but no pruned ones.
    `stop`: the object whose `sleep` the runner uses. On the first error, and on an interrupt, no more trials start, running ones continue
    without this process, and the error is raised.
    """

    def submit(job: TrialJob, *, again: bool = False) -> Submitted:
        return runner.submit(job.spec, code_dir, key=job.key, retry=again, leave_out=leave_out, trial=job.trial.values)

    def one(number: int) -> tuple[TrialJob, RunStatus]:
        job = source.job(number)
        stop.sleep(0)  # an interrupt while the values were chosen: start nothing
        try:
            submitted = submit(job)
        except ConflictError:
            if not job.chosen:
                raise
            job = source.job(number)  # another process started this trial with other values
            submitted = submit(job)
        if retry and submitted.status.state in (State.FAILED, State.CANCELLED) and submitted.status.reason is not Reason.PRUNED:
            submitted = submit(job, again=True)
        on_status(job.trial, submitted.status)
        return job, runner.wait(submitted.status.run_id, lambda status: on_status(job.trial, status))

    with ThreadPoolExecutor(at_once) as pool:
        futures: list[Future[tuple[TrialJob, RunStatus]]] = [pool.submit(one, number + 1) for number in range(source.count)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            return [future.result() for future in futures if future.done()]
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
