"""Submits to AWS Batch that crash at any line or run at the same instant: there is always exactly one job."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends import aws_batch, base
from gpuyard.training_jobs.backends.base import Backend
from gpuyard.training_jobs.errors import LostSightError
from gpuyard.training_jobs.lifecycle.journal import Journal
from gpuyard.training_jobs.runner import Runner, Submitted
from gpuyard.training_jobs.state import State
from gpuyard.training_jobs.target import BatchTarget, JobTarget
from tests.fakes.aws.batch import FakeBatch
from tests.fakes.aws.botocore_service import LOST, THROTTLED, UNAVAILABLE
from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.helpers.batch_pool import GROUP, batch_target, call_as_a_pipeline
from tests.helpers.concurrent_submits import submit_concurrently
from tests.helpers.crash_at_line import crash_at
from tests.helpers.local_pool import job

BETWEEN = (
    "/runner.py",
    "/lifecycle/handle.py",
    "/lifecycle/journal.py",
    "/store/local.py",
    "/clouds/aws.py",
    "/backends/submit_once.py",
    "/aws_batch/__init__.py",
    "/aws_batch/definitions.py",
)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBatch]:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "program.py").write_text("print('runs')")
    monkeypatch.setattr(base, "BOOTSTRAP", tmp_path / "program.py")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)  # boto3's own pauses
    with FakeLogs() as logs, FakeBatch(tmp_path / "nodes", logs, stop_s=1) as fake:
        logs.group(GROUP)
        fake.add_queue("yard-p5", nodes=3)
        call_as_a_pipeline(monkeypatch, batch=fake.url, cloudwatch_logs=logs.url)
        yield fake


def _backend(target: JobTarget) -> Backend:
    assert isinstance(target, BatchTarget)
    backend = aws_batch.BatchBackend(target, sleep=lambda _: None)
    backend.poll_s = 0.05
    return backend


def submit(tmp_path: Path, key: str, later_s: float = 0) -> Submitted:
    target = batch_target(f"file://{tmp_path}/bucket")
    nap = 0.01
    runner = Runner({"p5": target}, backend_for=_backend, clock=lambda: time.time() + later_s, sleep=lambda _: time.sleep(nap))
    return runner.submit(job(), None, key=key)


def die_and_recover(fake: FakeBatch, tmp_path: Path, line: int) -> None:
    key, jobs = f"key-{line}", len(fake.jobs)
    ran = crash_at(line, functools.partial(submit, tmp_path, key), BETWEEN)
    assert ran.died_at is not None, f"line {line} was not reached"
    made = len(fake.jobs) - jobs
    again = submit(tmp_path, key, later_s=61)
    assert len(fake.jobs) - jobs == 1, f"killed at {ran.died_at}"
    run = again.status.run_id
    record, _ = Journal(f"file://{tmp_path}/bucket").get(run)
    assert len(record.submissions) == 1
    assert record.last.service_id in fake.jobs
    assert again.created is not bool(made), f"killed at {ran.died_at}"


# A simulated crash does not close files, as the exit of a real process does.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_submit_killed_at_any_line_is_completed_by_the_next_one(fake: FakeBatch, tmp_path: Path) -> None:
    submit(tmp_path, "first")  # registers the definition
    count = crash_at(0, functools.partial(submit, tmp_path, "counted"), BETWEEN).lines
    assert count > 60
    for line in range(1, count + 1):
        die_and_recover(fake, tmp_path, line)


def test_two_pipelines_at_the_same_instant_fifty_times(fake: FakeBatch, tmp_path: Path) -> None:
    for turn in range(50):
        found = submit_concurrently(2, functools.partial(submit, tmp_path, f"night-{turn}"))
        assert sorted(submitted.created for submitted in found) == [False, True]
        assert len({submitted.status.service.id for submitted in found} - {None}) == 1
        assert len(fake.jobs) == turn + 1
    assert len(fake.definitions) <= 2  # in the first round neither submit may have found the other's definition


@pytest.mark.parametrize("seed", range(4))
def test_a_service_with_faults_starts_no_job_twice(fake: FakeBatch, tmp_path: Path, seed: int) -> None:
    """Throttling, 5xx and lost responses at random. A submit that raises LostSightError is repeated, like a pipeline's next run."""
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    submit(tmp_path, "first")
    for turn in range(15):
        key, jobs = f"key-{turn}", len(fake.jobs)
        for operation in ("SubmitJob", "ListJobs", "DescribeJobs"):
            for call in range(1, 4):
                if chance.random() < 0.5:
                    fake.fail(operation, chance.choice([THROTTLED, UNAVAILABLE, LOST]), call=call)
        fake.listing_lag = chance.choice([0, 0, 2, 6])
        for firing in range(6):
            try:
                submitted = submit(tmp_path, key, later_s=61 * firing)
                break
            except LostSightError:
                fake.listing_lag = 0  # a minute later the listing is up to date
        else:
            pytest.fail("never got through")
        fake._faults.clear()
        assert len(fake.jobs) - jobs == 1, f"turn {turn}"
        assert submitted.status.state in (State.PENDING, State.RUNNING, State.SUCCEEDED)
