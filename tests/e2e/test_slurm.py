"""Jobs with the real launch and trainer on a real Slurm cluster of two nodes, through the queue in a run bucket."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Reason, State
from tests.helpers.slurm_cluster import Cluster, scheduler
from tests.helpers.slurm_pool import head, make_target
from tests.helpers.trainer_jobs import trainer_job
from tests.helpers.waiting import wait_for

pytestmark = [pytest.mark.thorough, pytest.mark.skipif(sys.platform != "linux", reason="Slurm runs on Linux")]
STEPS, SAVED = 120, 40


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with scheduler() as found:
        yield found


def test_a_job_whose_machine_is_lost_resumes_and_its_log_is_complete(cluster: Cluster, tmp_path: Path) -> None:
    target = make_target(tmp_path)
    runner = Runner({target.pool: target})
    job = trainer_job(STEPS, SAVED).model_copy(update={"secrets": {}, "retries": trainer_job(1, 1).retries.model_copy(update={"infra": 1})})
    with head(cluster, tmp_path / "bucket", tmp_path, runner.advance) as errors:
        run = runner.submit(job, None, key="nightly").status.run_id
        saved = tmp_path / "bucket/gpuyard/runs" / run / f"checkpoints/{SAVED}/commit-1.json"
        wait_for(saved.exists, lambda: "\n".join(line.text for line in runner.logs(run)), limit_s=120)
        cluster.run("scontrol", "update", "NodeName=gpus-1", "State=DOWN", "Reason=lost")
        wait_for(lambda: runner.status(run).attempt == 2, limit_s=60)  # nobody waits: the head starts the next attempt
        cluster.resume()
        wait_for(lambda: runner.status(run).state is State.SUCCEEDED, limit_s=120)
        status = runner.status(run)
        lines = [line.text for line in runner.logs(run)]
    assert (status.state, status.attempt) == (State.SUCCEEDED, 2), "\n".join(lines)
    assert [(each.state, each.reason) for each in status.attempts] == [(State.STOPPED, Reason.INFRA), (State.SUCCEEDED, None)]
    assert (status.first_step or 0) >= SAVED
    runner.fetch(run, tmp_path / "into")
    assert json.loads((tmp_path / "into/output/result.json").read_text())["attempt"] == 2
    assert any("resumed from step" in line for line in lines)
    assert {line.node for line in runner.logs(run)} == {0, 1}
    assert errors == []
