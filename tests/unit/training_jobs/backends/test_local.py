"""The local service: queue order, start of all nodes together, time limits, cancel, and no process left alive."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends.local.pool import Pool
from gpuyard.training_jobs.backends.local.process import is_alive
from gpuyard.training_jobs.errors import AuthError, LostSightError
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.target import parse_target
from tests.helpers.local_pool import job, starts, target_document
from tests.helpers.local_processes import Start, leftover_processes, processes
from tests.helpers.runner_steps import wait_for_state
from tests.helpers.waiting import wait_for


def test_a_job_runs_on_its_nodes_and_leaves_no_process(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=2)
    status = runner.wait(run)
    assert (status.state, status.reason, status.exit_code) == (State.SUCCEEDED, None, 0)
    assert sorted(starts(tmp_path, run)) == [(0, 0), (0, 1)]
    lines = list(runner.logs(run))
    assert sorted((line.node, line.text) for line in lines) == [(0, "node 0 runs"), (1, "node 1 runs")]
    assert [line.text for line in runner.logs(run, node=1)] == ["node 1 runs"]
    assert list(runner.logs(run, since=time.time() + 1)) == []
    assert leftover_processes(tmp_path) == []
    assert os.listdir(tmp_path / "pool/leases") == os.listdir(tmp_path / "pool/queue") == []


def test_jobs_that_need_all_nodes_run_one_after_another_in_order(runner: Runner, start: Start, tmp_path: Path) -> None:
    runs = [start(f"job-{i}", nodes=2, env={"NAP": "0.3"}) for i in range(3)]
    statuses = [runner.wait(run) for run in runs]
    assert all(status.state is State.SUCCEEDED for status in statuses)
    for earlier, later in itertools.pairwise(statuses):
        assert earlier.ended_at is not None
        assert later.started_at is not None
        assert later.started_at >= earlier.ended_at


def test_no_later_job_overtakes_one_that_waits_for_more_nodes(runner: Runner, start: Start) -> None:
    small = start("small", nodes=1, env={"NAP": "1.0"})
    wait_for_state(runner, small, State.RUNNING)
    big = start("big", nodes=2)
    late = start("late", nodes=1)
    assert runner.status(late).state is State.PENDING  # one node is free, but the larger job came first
    assert "waiting" in (runner.status(late).detail or "")
    big_status, late_status = runner.wait(big), runner.wait(late)
    assert late_status.started_at is not None
    assert big_status.started_at is not None
    assert late_status.started_at >= big_status.started_at


def test_two_small_jobs_share_the_pool(runner: Runner, start: Start, tmp_path: Path) -> None:
    runs = [start(f"job-{i}", nodes=1, env={"NAP": "1"}) for i in range(2)]
    for run in runs:
        wait_for_state(runner, run, State.RUNNING)
    held = [json.loads((tmp_path / f"pool/leases/{run}.json").read_text()) for run in runs]
    assert sorted(lease["nodes"] for lease in held) == [[0], [1]]
    assert all(is_alive(lease["pid"], lease["started"]) for lease in held)


def test_a_cancelled_waiting_job_never_starts(runner: Runner, start: Start, tmp_path: Path) -> None:
    first = start("first", nodes=2, env={"NAP": "0.5"})
    waiting = start("waiting", nodes=2)
    last = start("last", nodes=2)
    assert runner.cancel(waiting).state is State.CANCELLED
    assert runner.wait(last).state is State.SUCCEEDED
    assert runner.wait(first).state is State.SUCCEEDED
    assert runner.status(waiting).state is State.CANCELLED
    assert starts(tmp_path, waiting) == []


def test_cancel_kills_nodes_that_ignore_sigterm_and_their_children(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(nodes=2, env={"DEAF": "1", "CHILD": "1", "NAP": "60"})
    wait_for_state(runner, run, State.RUNNING)
    wait_for(lambda: len(processes(tmp_path)) == 5)  # supervisor, two nodes, two children of theirs
    status = runner.cancel(run)
    assert (status.state, status.reason) == (State.CANCELLED, None)
    assert leftover_processes(tmp_path) == []
    assert runner.cancel(run).state is State.CANCELLED  # a second cancel changes nothing


def test_a_job_is_stopped_at_its_time_limit(runner: Runner, start: Start, tmp_path: Path) -> None:
    status = runner.wait(start(timeout="1s", env={"NAP": "60"}))
    assert (status.state, status.reason) == (State.FAILED, Reason.TIMEOUT)
    assert "timeout after 1 s" in (status.detail or "")
    assert leftover_processes(tmp_path) == []


def test_queue_timeout_is_a_capacity_failure(runner: Runner, start: Start, tmp_path: Path) -> None:
    start("first", nodes=2, env={"NAP": "60"})
    impatient = start("impatient", nodes=1, queue_timeout="1s")
    status = runner.wait(impatient)
    assert (status.state, status.reason) == (State.FAILED, Reason.CAPACITY)
    assert starts(tmp_path, impatient) == []


@pytest.mark.parametrize(("codes", "exit_code"), [({"CODE_0": "7"}, 7), ({"CODE_1": "9", "NAP_0": "60"}, 9)])
def test_a_failing_node_ends_the_job_with_its_own_exit_code(
    runner: Runner, start: Start, monkeypatch: pytest.MonkeyPatch, codes: dict[str, str], exit_code: int
) -> None:
    run = start(nodes=2, env=codes)
    started_at = time.monotonic()
    status = runner.wait(run)
    assert (status.state, status.reason, status.exit_code) == (State.FAILED, Reason.USER_ERROR, exit_code)
    assert time.monotonic() - started_at < 25  # the grace period after the other node's failure, not the sleep


def test_a_job_does_not_see_the_submitters_variables(runner: Runner, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    run = start(env={"NAP": "30"})
    wait_for_state(runner, run, State.RUNNING)
    lease = json.loads((Path(runner.runs()[0].checkpoint_url[7:]).parents[4] / f"pool/leases/{run}.json").read_text())
    assert b"AWS_SECRET" not in Path(f"/proc/{lease['pid']}/environ").read_bytes()


def test_a_pool_that_became_too_small_is_a_capacity_failure(runner: Runner, start: Start, tmp_path: Path) -> None:
    start("first", nodes=2, env={"NAP": "1"})
    waiting = start("waiting", nodes=2)
    file = tmp_path / "pool/pool.json"
    document = json.loads(file.read_text())
    document["nodes"] = document["nodes"][:1]
    file.write_text(json.dumps(document))
    status = runner.wait(waiting)
    assert (status.state, status.reason) == (State.FAILED, Reason.CAPACITY)
    assert status.detail == "needs 2 nodes, the pool has 1 now"


def test_queue_timeout_also_counts_behind_a_job_that_waits(runner: Runner, start: Start) -> None:
    start("first", nodes=2, env={"NAP": "60"})
    start("second", nodes=2)
    impatient = start("impatient", nodes=1, queue_timeout="1s")
    status = runner.wait(impatient)
    assert (status.state, status.reason) == (State.FAILED, Reason.CAPACITY)


def test_a_cancelled_stopped_run_is_not_resumed(runner: Runner, start: Start, tmp_path: Path) -> None:
    run = start(env={"CODE": "75"}, retries={"preempted": 0})
    assert runner.wait(run).state is State.STOPPED
    assert runner.cancel(run).state is State.CANCELLED
    assert runner.submit(job(env={"CODE": "75"}, retries={"preempted": 0}), None).created is False
    assert starts(tmp_path, run) == [(0, 0)]


def test_a_submitter_that_exits_before_its_job_prints_no_warning(tmp_path: Path) -> None:
    text = (
        "import sys; from pathlib import Path; from gpuyard.training_jobs.runner import Runner; "
        "from tests.helpers.local_pool import job, make_target; "
        "Runner({'local': make_target(Path(sys.argv[1]))}).submit(job(launcher='none', command=['true']), None)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text, str(tmp_path / "own")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    assert done.stderr == ""
    there = Runner({"local": parse_target(target_document(tmp_path / "own"))})
    assert there.wait(there.runs()[0].run_id).state is State.SUCCEEDED


def test_the_nodes_secret_is_new_in_each_submission_and_in_no_record(runner: Runner, start: Start, tmp_path: Path) -> None:
    alone, first, second = start("alone", nodes=1), start("first", nodes=2), start("second", nodes=2)
    entries = {run: next(tmp_path.glob(f"pool/jobs/{run}.*/job.json")) for run in (alone, first, second)}
    found = [json.loads(entries[run].read_text())["environment"].get("GPUYARD_CHANNEL_SECRET") for run in (alone, first, second)]
    assert found[0] is None  # it has no other node
    assert len(set(found[1:])) == 2
    assert all(len(secret) == 64 for secret in found[1:])
    for run in (first, second):
        runner.wait(run)
    texts = [path.read_text(errors="replace") for path in (tmp_path / "bucket").rglob("*") if path.is_file()]
    assert not any(secret in text for secret in found[1:] for text in texts)


def test_reads_start_no_queued_job(runner: Runner, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as crash:  # the submit exits between the queue entry and the start
        crash.setattr(Pool, "_start_waiting", lambda self: None)
        run = start()
    for read in (
        lambda: runner.status(run),
        runner.runs,
        lambda: list(runner.logs(run)),
        lambda: runner.fetch(run, tmp_path / "fetched"),
        runner.capacity,
    ):
        read()
        assert not list((tmp_path / "pool/leases").iterdir())
    detail = "nodes 2 of 2 free, needs 1; 1 waiting; `gpuyard wait` or the next submit starts it"
    assert (runner.status(run).state, runner.status(run).detail) == (State.PENDING, detail)
    assert runner.wait(run).state is State.SUCCEEDED


def test_the_nodes_run_the_packages_bootstrap_not_the_pools(runner: Runner, start: Start, tmp_path: Path) -> None:
    first, second = start("first", nodes=2, env={"NAP": "0.3"}), start("second")
    (entry,) = tmp_path.glob(f"pool/jobs/{second}.*/job.json")
    planted = f"open({str(tmp_path / 'planted')!r}, 'w')"
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "bootstrap": planted, "command": [planted]}))
    assert runner.wait(first).state is runner.wait(second).state is State.SUCCEEDED
    assert starts(tmp_path, second) == [(0, 0)]
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("variable", ["PYTHONPATH", "LD_PRELOAD", "GPUYARD_LEASE", "PATH", "A=B"])
def test_a_queue_entry_sets_only_the_variables_of_a_run(runner: Runner, start: Start, tmp_path: Path, variable: str) -> None:
    start("first", nodes=2, env={"NAP": "60"})
    run = start("second")
    (entry,) = tmp_path.glob(f"pool/jobs/{run}.*/job.json")
    document = json.loads(entry.read_text())
    entry.write_text(json.dumps({**document, "environment": {**document["environment"], variable: "/tmp"}}))
    with pytest.raises(LostSightError, match="not a job's entry"):
        runner.status(run)
    entry.write_text(json.dumps(document))


def test_a_pool_that_others_can_open_takes_no_job(tmp_path: Path, runner: Runner) -> None:
    (tmp_path / "pool").chmod(0o755)
    with pytest.raises(AuthError, match="not a private directory of this user"):
        runner.submit(job(), None)
    assert not (tmp_path / "bucket/gpuyard/submissions").exists()
    (tmp_path / "pool").chmod(0o700)
