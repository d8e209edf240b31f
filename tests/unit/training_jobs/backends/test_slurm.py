"""The backend of a Slurm cluster: the exact ticket (a golden file; GOLDEN=write updates it), and what it says while the head is silent."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends.base import Capacity
from gpuyard.training_jobs.backends.bucket_logs import BucketLogs
from gpuyard.training_jobs.backends.slurm import SlurmBackend
from gpuyard.training_jobs.errors import NotFoundError, UsageError
from gpuyard.training_jobs.mailbox import Heartbeat, Mailbox, Report
from gpuyard.training_jobs.run import Code, Run
from gpuyard.training_jobs.run_layout import logs_path
from gpuyard.training_jobs.state import State
from gpuyard.training_jobs.store import LocalStore
from gpuyard.training_jobs.target import SlurmTarget
from tests.helpers.local_pool import job
from tests.helpers.slurm_pool import make_target

GOLDEN = Path(__file__).parent / "golden" / "slurm-two-nodes.json"


@pytest.fixture
def target(tmp_path: Path) -> SlurmTarget:
    found = make_target(tmp_path)
    assert isinstance(found, SlurmTarget)
    return found


def a_run(target: SlurmTarget, **keys: object) -> Run:
    code = Code("d" * 64, f"s3://runs/gpuyard/code/{'c' * 64}.tar.gz")
    return Run(
        "night-0123456789ab", 1, 2, job("night", nodes=2, **keys), target, code, 43200, "timeout", "0a1b2c3d", channel_secret="x" * 64
    )


def test_the_ticket_is_exact_and_has_no_secret(target: SlurmTarget) -> None:
    run = a_run(target.model_copy(update={"run_bucket": "s3://runs", "gpus_per_node": 8}))
    (request,) = SlurmBackend(run.target, store=LocalStore("file:///nowhere")).request(run)  # type: ignore[arg-type]
    text = json.dumps({request.operation: request.body}, indent=2) + "\n"
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
    assert "x" * 64 not in text


def test_a_container_image_is_refused(target: SlurmTarget) -> None:
    with pytest.raises(UsageError, match="remove image: from the job file"):
        SlurmBackend(target).request(a_run(target, image=f"torch@sha256:{'0' * 64}"))


def test_a_queue_without_a_head_is_not_found_and_says_what_to_run(target: SlurmTarget) -> None:
    backend = SlurmBackend(target)
    with pytest.raises(NotFoundError, match=r"run on the cluster: gpuyard head --queue file://\S+/gpuyard/queues/dgx --partition gpu"):
        backend.ready()
    run = a_run(target)
    backend.submit(run)
    assert "no head has served its queue yet" in (backend.status(run.name).detail or "")


def test_a_waiting_job_says_that_the_head_is_silent(target: SlurmTarget) -> None:
    run, mailbox = a_run(target), Mailbox(LocalStore(target.run_bucket), "dgx")
    beat = Heartbeat(holder="a", at=1000.0, host="login1", nodes=4, free=1, waiting=2)
    mailbox.write_heartbeat(beat, None)
    soon, late = (SlurmBackend(target, clock=lambda at=at: at) for at in (1030.0, 1300.0))  # type: ignore[misc]
    assert soon.capacity() == Capacity(nodes=4, free=1, waiting=2, detail=None)
    assert late.capacity().detail == "the head on login1 has not reported for 300 s; start `gpuyard head` there"
    assert soon.submit(run) == run.name
    assert soon.status(run.name).detail == "not picked up yet"
    assert late.status(run.name).detail == "not picked up yet; the head on login1 has not reported for 300 s; start `gpuyard head` there"
    mailbox.write_report(run.name, Report(state=State.SUCCEEDED, exit_code=0), None)
    assert late.status(run.name).detail is None


def test_a_submission_is_found_by_its_ticket_also_after_its_end(target: SlurmTarget) -> None:
    backend, mailbox, run = SlurmBackend(target), Mailbox(LocalStore(target.run_bucket), "dgx"), a_run(target)
    assert (backend.find(run), backend.status(run.name).state) == (None, State.UNKNOWN)
    backend.submit(run)
    mailbox.close(run.name)
    assert (backend.find(run), backend.find(replace(run, nonce="ffffffff"))) == (run.name, None)


def test_an_object_that_is_no_report_is_named(target: SlurmTarget) -> None:
    store, run = LocalStore(target.run_bucket), a_run(target)
    store.create(f"gpuyard/queues/dgx/out/{run.name}.json", b'{"state": "DONE"}')
    status = SlurmBackend(target).status(run.name)
    assert status.state is State.UNKNOWN
    assert "out/night-0123456789ab.1-0a1b2c3d.json is not a valid report" in (status.detail or "")


def test_log_lines_of_an_untrusted_job_are_read_within_limits(tmp_path: Path) -> None:
    store = LocalStore(tmp_path.as_uri())
    folder = f"{logs_path('night-0123456789ab', '0-a')}/node-0"
    for name, data in {
        "0000000000001-000000.log": b"2026-12-01T10:00:00.5Z first\nno time at all\n",
        "0000000000001-000001.log": b"x" * (2**20 + 1),
        "0000000000002-000000.log": b"2026-12-01T10:00:01Z \xff second\n",
        "../../evil": b"",
        "notes.txt": b"2026-12-01T10:00:01Z not a part\n",
    }.items():
        if ".." not in name:
            store.create(f"{folder}/{name}", data)
    reader = BucketLogs(store, "night-0123456789ab", "0-a", [0, 1], None)
    assert [line.text for line in reader.read_new()] == ["first", "no time at all", "\ufffd second"]
    assert reader.read_new() == []
    store.create(f"{folder}/0000000000003-000000.log", b"2026-12-01T10:00:02Z third\n")
    assert [(line.time, line.text) for line in reader.read_new()] == [(1796119202.0, "third")]
