"""The runner with its run records on S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuyard.stacks.cli.targets import find_targets
from gpuyard.training_jobs.backends.base import ServiceStatus
from gpuyard.training_jobs.backends.local import LocalBackend
from gpuyard.training_jobs.errors import AuthError, LostSightError, NotFoundError, UsageError
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import JobSpec
from gpuyard.training_jobs.state import State
from gpuyard.training_jobs.store import open_store
from gpuyard.training_jobs.target import JobTarget
from tests.fakes.aws.moto_server import moto
from tests.helpers import batch_pool
from tests.helpers.local_pool import job, make_target


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobTarget]:
    with moto(monkeypatch, "runs"):
        yield make_target(tmp_path, nodes=1, run_bucket="s3://runs", buckets={"runs": "s3://runs"})


class IdleQueue(LocalBackend):
    """A local queue that starts nothing: every job is RUNNING unless a test sets `down`."""

    down: Exception | None = None
    submitted: list[str] = []  # noqa: RUF012 shared on purpose, because every poll creates a backend

    def submit(self, run: object) -> str:
        self.submitted.append(run.name)  # type: ignore[attr-defined]
        return str(run.name)  # type: ignore[attr-defined]

    def status(self, service_id: str) -> ServiceStatus:
        if IdleQueue.down is not None:
            raise IdleQueue.down
        return ServiceStatus(State.RUNNING, started_at=1.0)


@pytest.fixture
def runner(yard: JobTarget, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(IdleQueue, "down", None)
    monkeypatch.setattr(IdleQueue, "submitted", [])
    return Runner({"local": yard}, backend_for=IdleQueue)  # type: ignore[arg-type]


def spec(name: str = "job") -> JobSpec:
    return job(name)


def test_sixteen_concurrent_submits_of_one_key_start_one_job(runner: Runner) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: runner.submit(spec(), None, key="nightly"), range(16)))
    assert [submitted.created for submitted in found].count(True) == 1
    assert len({submitted.status.run_id for submitted in found}) == 1
    assert IdleQueue.submitted == [found[0].status.service.id]


def test_another_job_under_the_same_key_shows_the_difference(runner: Runner) -> None:
    runner.submit(spec(), None, key="nightly")
    other = spec().model_copy(update={"command": ["other.py"]})
    with pytest.raises(UsageError, match=r'command: was \["train.py"\], is \["other.py"\]'):
        runner.submit(other, None, key="nightly")


def test_a_list_continues_when_one_service_does_not_answer(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner.submit(spec(), None).status.run_id
    (status,) = runner.runs()
    assert (status.run_id, status.state) == (run, State.RUNNING)
    for error in (LostSightError("no answer"), AuthError("expired")):
        monkeypatch.setattr(IdleQueue, "down", error)
        messages: list[str] = []
        (status,) = runner.runs(messages.append)
        assert (status.run_id, status.state, status.detail) == (run, State.UNKNOWN, str(error))
        assert messages == [f"{run}: {error}"]


def test_fetch_copies_output_and_checkpoints(runner: Runner, tmp_path: Path) -> None:
    run = runner.submit(spec(), None).status.run_id
    store = open_store("s3://runs")
    store.create(f"gpuyard/runs/{run}/output/result.json", b"{}")
    store.create(f"gpuyard/runs/{run}/checkpoints/400/commit-1.json", b"{}")
    assert runner.fetch(run, tmp_path / "into") == ["output/result.json", "checkpoints/400/commit-1.json"]
    with pytest.raises(NotFoundError, match=f"did you mean '{run}'"):
        runner.fetch(run + "x", tmp_path)


def test_targets_are_read_from_the_run_bucket(yard: JobTarget) -> None:
    url = "s3://runs/gpuyard/targets.json"
    with pytest.raises(UsageError, match=r"no such object; `pulumi up` writes the targets"):
        find_targets(None, url)
    open_store("s3://runs").create("gpuyard/targets.json", json.dumps({"l4": batch_pool.target_document("runs")}).encode())
    targets, source = find_targets(None, url)
    assert (list(targets), source) == (["l4"], url)
    with pytest.raises(NotFoundError, match="s3://nowhere"):
        find_targets(None, "s3://nowhere/gpuyard/targets.json")


@pytest.mark.parametrize(
    ("url", "writer"),
    [
        ("gs://runs/gpuyard/targets.json", "`pulumi up` writes the targets"),
        (
            "abfs://runs@acme.dfs.core.windows.net/gpuyard/targets.json",
            "the command in the stack output publish_targets writes the targets",
        ),
    ],
)
def test_missing_targets_name_the_command_that_writes_them(monkeypatch: pytest.MonkeyPatch, url: str, writer: str) -> None:
    monkeypatch.setattr("gpuyard.training_jobs.store.read_url", lambda location: None)
    with pytest.raises(UsageError, match=f"no such object; {writer}"):
        find_targets(None, url)
