"""`gpuyard status` of a finished run: one line for each attempt, those that the service started included, and the cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from gpuyard.stacks.cli import tables, view
from gpuyard.training_jobs.backends.base import LogLine, ServiceStatus
from gpuyard.training_jobs.lifecycle.handle import RunHandle, make_submission
from gpuyard.training_jobs.lifecycle.journal import Journal, RunRecord, SubmissionEnd
from gpuyard.training_jobs.lifecycle.run_logs import attempt_lines, log_window
from gpuyard.training_jobs.lifecycle.status_builder import build_status
from gpuyard.training_jobs.run import Code
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.status import RunStatus
from tests.helpers.batch_pool import batch_target
from tests.helpers.local_pool import job

BEGIN = 1_800_000_000.0  # 2027-01-15T08:00:00Z
URL = "https://us-east-1.console.aws.amazon.com/batch/home?region=us-east-1#jobs/detail/j-2"


def record_of_night(folder: Path) -> RunRecord:
    """Return a run with three attempts: preempted, restarted by the service and preempted, resubmitted and successful."""
    bucket = f"file://{folder}"
    target = batch_target(bucket)
    labels = {"team": "nlp", "kind": "nightly"}
    command = ["train.py", "--lr", "3e-4"]
    spec = job("night", nodes=2, max_cost_usd=500, retries={"preempted": 3}, launcher="torchrun", command=command, labels=labels)
    first = make_submission(spec, target, Code("d", f"{bucket}/code"), (), attempt=1, fresh=True, now=BEGIN)
    end = SubmissionEnd(
        state=State.STOPPED, reason=Reason.PREEMPTED, exit_code=75, started_at=BEGIN + 60, ended_at=BEGIN + 7260,
        restarts=(Reason.PREEMPTED,),
    )  # fmt: skip
    first = first.model_copy(update={"service_id": "j-1", "ended": end})
    second = make_submission(spec, target, Code("d", f"{bucket}/code"), (first,), attempt=3, fresh=False, now=BEGIN + 7800)
    submitter = "arn:aws:sts::111122223333:assumed-role/ci/nightly"
    return RunRecord(
        run_id="night-1", name="night", stack=target.stack, pool="p5", request_key="k", created_at=BEGIN,
        submissions=(first, second.model_copy(update={"service_id": "j-2", "submitter": submitter})),
    )  # fmt: skip


@pytest.fixture
def night(tmp_path: Path) -> RunStatus:
    bucket = f"file://{tmp_path}"
    run = tmp_path / "gpuyard/runs/night-1"
    left = {
        "attempts/1.json": {"claimed_at": "2027-01-15T08:01:05Z"},
        "attempts/2.json": {"claimed_at": "2027-01-15T09:10:00Z"},
        "attempts/3.json": {"claimed_at": "2027-01-15T10:15:00Z"},
        "output/attempt-1/progress.json": {"step": 1000},
        "output/attempt-1/node-0.json": {"exit_code": 75, "ended_at": "2027-01-15T09:01:00Z"},
        "output/attempt-2/progress.json": {"step": 1800},
        "output/attempt-3/progress.json": {
            "phase": "ended", "step": 4000, "steps": 4000,
            "metrics": {"loss": 2.5, "val_loss": 2.61, "tokens_per_s": 91000, "mfu": 0.49, "goodput": 0.96, "lost_steps": 0},
        },
        "output/attempt-3/preflight.json": {"verdict": "ok", "checks": {"all_reduce": {"transport": "NET/OFI", "busbw_gbs": 296.0}}},
    }  # fmt: skip
    for name, document in left.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(json.dumps(document))
    reported = ServiceStatus(State.SUCCEEDED, None, 0, BEGIN + 8000, BEGIN + 15200, console_url=URL)
    return build_status(Journal(bucket), record_of_night(tmp_path), batch_target(bucket), reported, BEGIN + 99999)


def test_each_attempt_has_its_own_line_and_times(night: RunStatus) -> None:
    rows = [(a.attempt, a.state, a.reason, a.submitted_at - BEGIN, a.started_at, a.ended_at) for a in night.attempts]
    assert rows == [
        (1, State.STOPPED, Reason.PREEMPTED, 0, BEGIN + 60, BEGIN + 3660),
        (2, State.STOPPED, Reason.PREEMPTED, 3660, BEGIN + 4200, BEGIN + 7260),
        (3, State.SUCCEEDED, None, 7800, BEGIN + 8000, BEGIN + 15200),
    ]
    assert (night.attempt, night.gpus, night.started_at) == (3, "H100:8", BEGIN + 60)


def test_the_cost_is_the_running_time_at_the_price_counted_once(night: RunStatus) -> None:
    hours = 2 * (7200 + 7200) / 3600  # two nodes, two submissions of two hours
    assert night.cost.usd == round(hours * 55.04, 4)
    assert night.cost.basis == "8.00 node-hours x $55.04 (list price)"
    assert night.cost.limit_usd == 500


def test_the_text_summary(night: RunStatus) -> None:
    lines = view.summary(night).splitlines()
    assert lines[0] == "SUCCEEDED  p5 (batch)  2 nodes x H100:8  4:13:20  attempt 3"
    assert lines[1] == "  1  PENDING 1:00 RUNNING 1:00:00 -> preempted (exit code 75)  step 1,000  restarted by the service"
    assert lines[2] == "  2  PENDING 9:00 RUNNING 51:00 -> preempted (exit code 75)  step 1,800"
    assert lines[3] == "  3  PENDING 3:20 RUNNING 2:00:00 -> done  step 4,000"
    assert lines[4] == "  preflight ok: NET/OFI all-reduce 296.0 GB/s"
    assert lines[5] == "  step 4,000/4,000  loss 2.500  val loss 2.610  91.0k tok/s  MFU 49%  goodput 0.96  0 steps lost"
    assert lines[6] == "  submitted by  arn:aws:sts::111122223333:assumed-role/ci/nightly"
    assert lines[7] == "  command  train.py --lr 3e-4"
    assert lines[8] == "  labels  team=nlp, kind=nightly"
    assert lines[9] == "  cost  8.00 node-hours x $55.04 (list price) = $440.32 of $500.00"
    assert lines[11] == f"  console  {URL}"


def test_the_table_has_a_heading_and_the_name_in_a_principal(night: RunStatus) -> None:
    heading, first, second = tables.table(
        [night, night.model_copy(update={"submitted_by": "alice@acme.io", "pool": "p5-spot"})]
    ).splitlines()
    columns = [heading.index(word) for word in ("RUN", "STATE", "POOL", "ATTEMPT", "SUBMITTED", "BY", "PROGRESS")]
    assert [first[start:].split()[0] for start in columns[:4]] == ["night-1", "SUCCEEDED", "p5", "3"]
    assert first[columns[5] :].split()[0] == "nightly"
    assert second[columns[5] :].split()[0] == "alice@acme.io"
    assert second[columns[6] :].startswith("step 4,000/4,000")


@pytest.mark.parametrize(
    ("attempt", "job_id", "since", "until"),
    [(1, "j-1", None, BEGIN + 3660), (2, "j-1", BEGIN + 3660, None), (3, "j-2", None, None)],
)
def test_the_log_of_an_attempt_is_a_part_of_its_job_log(
    night: RunStatus, tmp_path: Path, attempt: int, job_id: str, since: float | None, until: float | None
) -> None:
    window = log_window(record_of_night(tmp_path), night.attempts, attempt)
    assert (window.submission.service_id, window.since, window.until) == (job_id, since, until)


def test_a_lost_node_leaves_the_next_start_as_the_end_of_its_log(night: RunStatus, tmp_path: Path) -> None:
    lost = night.attempts[0].model_copy(update={"ended_at": None})
    assert log_window(record_of_night(tmp_path), [lost, *night.attempts[1:]], 1).until == night.attempts[1].started_at


def test_following_an_attempt_ends_when_the_service_starts_the_job_again(night: RunStatus, tmp_path: Path) -> None:
    """The second attempt is reported only after its first line was read, as when a node restarts while the log is followed."""
    first, second = night.attempts[0], night.attempts[1]
    record = record_of_night(tmp_path)
    read: list[float] = []

    def lines(*_: object, **__: object) -> Iterator[LogLine]:
        for moment in (BEGIN + 1, BEGIN + 1.5, BEGIN + 3700, BEGIN + 3701):
            read.append(moment)
            yield LogLine(moment, 0, f"{moment - BEGIN:g}")

    def status() -> SimpleNamespace:
        return SimpleNamespace(attempts=[first, second] if BEGIN + 3700 in read else [first.model_copy(update={"ended_at": None})])

    handle = SimpleNamespace(record=record, status=status, backend=SimpleNamespace(logs=lines), job_id_of=lambda _: "j-1")
    found = [line.text for line in attempt_lines(cast(RunHandle, handle), 1, node=None, since=None, follow=True)]
    assert (found, len(read)) == (["1", "1.5"], 3)


def test_images_are_not_counted_as_tokens(night: RunStatus) -> None:
    metrics = night.metrics.model_copy(update={"tokens_per_s": None, "other": {"images_per_s": 12_345.6}})
    line = view.summary(night.model_copy(update={"metrics": metrics})).splitlines()[5]
    assert "  12,346 images/s  " in line
    assert "tok/s" not in line


def test_one_node_and_one_restart_are_singular(night: RunStatus) -> None:
    attempt = night.attempts[0].model_copy(update={"restarts": 1})
    lines = view.summary(night.model_copy(update={"nodes": 1, "attempts": (attempt,)})).splitlines()
    assert "  1 node x H100:8  " in lines[0]
    assert "  1 restart  " in lines[1]


def test_the_json_document_has_the_same_values(night: RunStatus) -> None:
    document = json.loads(night.model_dump_json(by_alias=True))
    assert {"loss", "tokens_per_s", "mfu", "goodput"} <= {name for name, value in document["metrics"].items() if value is not None}
    assert document["service"] == {"kind": "batch", "id": "j-2", "console_url": URL}
    assert len(document["attempts"]) == 3


def test_an_unknown_price_and_an_unknown_end_are_shown_as_unknown(night: RunStatus, tmp_path: Path) -> None:
    cost = night.cost.model_copy(update={"usd": None, "basis": "8.00 node-hours x price unknown (none)"})
    lost = night.attempts[0].model_copy(update={"ended_at": None, "started_at": None, "exit_code": None})
    text = view.summary(night.model_copy(update={"cost": cost, "attempts": [lost, *night.attempts[1:]]}))
    assert "= unknown of $500.00" in text
    assert "  1  -> preempted  step 1,000" in text


def test_a_stopped_run_says_the_next_step(night: RunStatus, capsys: pytest.CaptureFixture[str]) -> None:
    assert "next" not in view.summary(night).splitlines()[-1]
    stopped = night.model_copy(update={"state": State.STOPPED})
    assert (
        view.summary(stopped).splitlines()[-1].startswith(f"  next  nothing runs now. gpuyard wait {night.run_id} starts the next attempt")
    )
    view.print_submitted("a-1", "created", needs_wait=True, quiet=False)
    assert (
        capsys.readouterr().out.splitlines()[1].startswith("no service starts the retries for user_error by itself: run gpuyard wait a-1")
    )
