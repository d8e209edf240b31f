"""What a record may decide: a resumed or taken-over submission is checked and derived from its spec again."""

from __future__ import annotations

import json
import shutil
from collections import deque
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends.base import ServiceStatus
from gpuyard.training_jobs.errors import ConflictError, LostSightError, UsageError
from gpuyard.training_jobs.launch.__main__ import claim_attempt
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.target import Price
from tests.helpers.local_pool import job, record_file
from tests.unit.training_jobs.lifecycle.test_polling import DONE, Yard

PREEMPTED = ServiceStatus(State.STOPPED, Reason.PREEMPTED, 75, 0.0, 1.0)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def test_a_taken_over_submission_is_derived_from_its_spec_again(yard: Yard, tmp_path: Path) -> None:
    yard.service.refusals.append(LostSightError("no answer"))
    with pytest.raises(LostSightError):
        yard.runner.submit(job(timeout="1h"), None, key="k")
    [file] = (tmp_path / "bucket/gpuyard/submissions").glob("*/run.json")
    record = json.loads(file.read_text())
    changed = record["submissions"][0]
    changed["job"]["command"], changed["limit_s"], changed["spec_digest"] = ["mine.py"], 10**9, "0" * 64
    file.write_text(json.dumps(record))
    yard.now += 61
    yard.service.answers = deque([DONE])
    assert yard.runner.submit(job(timeout="1h"), None, key="k").created
    [submitted] = json.loads(file.read_text())["submissions"]
    assert (submitted["job"]["command"], submitted["limit_s"]) == (["train.py"], 3600)


def test_another_spec_under_a_copied_digest_is_not_adopted(yard: Yard, tmp_path: Path) -> None:
    run = yard.runner.submit(job(), None, key="k").status.run_id
    file = record_file(tmp_path, run)
    record = json.loads(file.read_text())
    record["submissions"][0]["spec"]["command"] = ["mine.py"]  # its spec_digest stays the one of the caller's spec
    file.write_text(json.dumps(record))
    with pytest.raises(ConflictError, match="bound to another job"):
        yard.runner.submit(job(), None, key="k")


def test_a_wait_resumes_nothing_that_a_submit_would_refuse(yard: Yard) -> None:
    run = yard.submit(retries={"preempted": 3})
    yard.target = yard.target.model_copy(update={"max_nodes": 0})
    yard.service.answers = deque([PREEMPTED])
    assert yard.new_runner().wait(run).state is State.STOPPED
    assert len(yard.service.submitted) == 1


def test_a_wait_resumes_no_run_whose_cost_limit_has_no_price(yard: Yard) -> None:
    run = yard.submit(retries={"preempted": 3}, max_cost_usd=10_000)
    yard.target = yard.target.model_copy(update={"price": Price(usd_per_node_hour=None, source="unknown")})
    yard.service.answers = deque([PREEMPTED])
    assert yard.new_runner().wait(run).state is State.STOPPED
    with pytest.raises(UsageError, match="max_cost_usd: the pool's price is unknown"):
        yard.new_runner().submit(job(retries={"preempted": 3}, max_cost_usd=10_000), None)
    assert len(yard.service.submitted) == 1


@pytest.mark.parametrize(("planted", "attempt"), [(["999999999"], 2), (["1", "2", "999999999"], 3), (["0", "7"], 2)])
def test_a_planted_number_uses_up_no_attempts(yard: Yard, tmp_path: Path, planted: list[str], attempt: int) -> None:
    run = yard.submit(retries={"preempted": 3})
    folder = tmp_path / "bucket/gpuyard/runs" / run / "attempts"
    folder.mkdir(parents=True)
    for number in planted:
        (folder / f"{number}.json").write_text("{}")
    yard.service.answers = deque([PREEMPTED, DONE])
    assert yard.new_runner().wait(run).state is State.SUCCEEDED
    submission = json.loads(record_file(tmp_path, run).read_text())["submissions"][1]
    assert submission["attempt"] == attempt
    assert claim_attempt((tmp_path / "bucket/gpuyard/runs" / run).as_uri(), 1, "local", submission) == attempt


def test_a_succeeded_run_whose_folder_was_removed_is_not_adopted(yard: Yard, tmp_path: Path) -> None:
    yard.service.answers = deque([DONE])
    run = yard.runner.submit(job(), None, key="k").status.run_id
    attempts = tmp_path / "bucket/gpuyard/runs" / run / "attempts"
    attempts.mkdir(parents=True)
    (attempts / "1.json").write_text("{}")
    assert yard.new_runner().wait(run).state is State.SUCCEEDED
    assert not yard.runner.submit(job(), None, key="k").created
    shutil.rmtree(attempts.parent)
    with pytest.raises(
        ConflictError, match=f"run {run} succeeded, but its folder gpuyard/runs/{run}/ was removed .* use another --request-key, or"
    ):
        yard.runner.submit(job(), None, key="k")
    assert len(yard.service.submitted) == 1
