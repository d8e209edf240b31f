"""Reading a run's record on a node: only the job whose digest the service's request names is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.run_record import read_submission
from gpuyard.training_jobs.run import Code, Run, resolved_job
from tests.helpers.local_pool import job, make_target


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(
        "job-0123456789ab", 0, 2, job(env={"LR": "0.1", "NAME": "größe"}), make_target(tmp_path), Code("d", "file:///c"), 60, "timeout"
    )


def record(folder: Path, run: Run, **changes: Any) -> str:
    file = folder / "run.json"
    submission = {"spec": "unused", "attempt": run.attempt, "job": resolved_job(run.spec, run.target)}
    for key, value in changes.items():
        submission[key] = {**submission["job"], **value} if key == "job" else value  # type: ignore[dict-item]
    file.write_text(json.dumps({"submissions": [submission]}))
    return file.as_uri()


def test_the_submitted_job_is_read(tmp_path: Path, run: Run) -> None:
    found = read_submission(record(tmp_path, run), 0, run.job_digest)
    assert (found["job"]["command"], found["attempt"]) == (["train.py"], 2)


@pytest.mark.parametrize("changes", [{"job": {"command": ["mine.py"]}}, {"job": {"secrets": {"A": "b"}}}, {"attempt": 1}])
def test_a_changed_record_is_refused(tmp_path: Path, run: Run, changes: Any) -> None:
    with pytest.raises(NodeExitError, match="does not match the job") as refused:
        read_submission(record(tmp_path, run, **changes), 0, run.job_digest)
    assert refused.value.code == 64


def test_a_request_without_a_digest_runs_nothing(tmp_path: Path, run: Run) -> None:
    with pytest.raises(NodeExitError, match="got nothing"):
        read_submission(record(tmp_path, run), 0, "")
