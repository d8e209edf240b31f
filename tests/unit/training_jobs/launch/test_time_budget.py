"""The time limit over all starts of a submission's nodes, for services that give each start a full limit."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends.aws_batch import states
from gpuyard.training_jobs.launch.node_exit import OUT_OF_TIME
from gpuyard.training_jobs.launch.time_budget import HEARTBEAT_S, remaining_s
from tests.helpers.node_processes import NodeProcesses, finish

NOON = 1_795_608_000.0  # 2026-11-25T12:00:00Z


def at(seconds: float) -> str:
    return f"2026-11-25T12:{int(seconds // 60):02}:{int(seconds % 60):02}Z"


def write(folder: Path, path: str, **document: Any) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(json.dumps(document))


def claim(folder: Path, attempt: int, began: float, submission: int = 0) -> None:
    write(folder, f"attempts/{attempt}.json", submission=submission, began_at=at(began), claimed_at=at(began + 5))


def test_an_earlier_start_counts_and_the_wait_after_it_does_not(tmp_path: Path) -> None:
    claim(tmp_path, 1, began=0)
    write(tmp_path, "output/attempt-1/node-0.json", ended_at=at(100))
    claim(tmp_path, 2, began=1000)
    assert remaining_s(600, tmp_path.as_uri(), 0, 2, NOON + 1010) == 600 - 100 - 10


def test_a_start_on_a_lost_machine_counts_until_a_minute_after_its_last_heartbeat(tmp_path: Path) -> None:
    claim(tmp_path, 1, began=0)
    write(tmp_path, "output/attempt-1/progress.json", updated_at=at(300))
    claim(tmp_path, 2, began=400)  # its node was lost before it wrote progress
    claim(tmp_path, 3, began=500)
    assert remaining_s(600, tmp_path.as_uri(), 0, 3, NOON + 500) == 600 - (300 + HEARTBEAT_S) - (5 + HEARTBEAT_S)


def test_each_submission_has_its_own_time_limit(tmp_path: Path) -> None:
    claim(tmp_path, 1, began=0)
    write(tmp_path, "output/attempt-1/node-0.json", ended_at=at(500))
    claim(tmp_path, 2, began=600, submission=1)
    (tmp_path / "attempts/3.json").write_text('{"subm')  # written incompletely
    claim(tmp_path, 4, began=700, submission=1)
    write(tmp_path, "output/attempt-2/node-0.json", ended_at=at(650))
    assert remaining_s(600, tmp_path.as_uri(), 1, 4, NOON + 700) == 600 - 50


def test_the_batch_backend_uses_the_same_constants() -> None:
    assert states._OUT_OF_TIME == OUT_OF_TIME
    assert states._COUNTED_S == HEARTBEAT_S


EXITS_OR_SLEEPS = """
import os, sys, time
if os.environ["GPUYARD_ATTEMPT"] == "1":
    sys.exit(75)
print("sleeps", flush=True)
time.sleep(300)
"""


def test_restarted_nodes_end_when_all_starts_have_used_up_the_limit(tmp_path: Path) -> None:
    """The node itself ends at the limit: nothing polls the run's state here."""
    run = NodeProcesses(tmp_path, {"launcher": "none", "command": ["python3", "train.py"]}, {"train.py": EXITS_OR_SLEEPS})
    assert finish(run.submit(grace_s=1, nodes=1, nproc_per_node=1)) == [75]
    began, ended = json.loads((run.run / "attempts/1.json").read_text())["began_at"], run.output(1, "node-0.json")["ended_at"]
    used = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    run.node_env = {0: {"GPUYARD_LIMIT_S": str(used + 4)}}
    assert finish([run.start(0)]) == [OUT_OF_TIME]
    assert run.output(2, "node-0.json")["exit_code"] == OUT_OF_TIME
    assert "the job's time limit over all restarts of its nodes is reached" in run.log(0)
    assert finish([run.start(0)]) == [OUT_OF_TIME]
    assert "earlier restarts of the nodes used up the job's time limit" in run.log(0)
    assert not (run.run / "output/attempt-3").exists()


HOSTILE = [b"", b"[]", b"{}", b"[" * 100_000, b'{"ended_at": 5, "updated_at": [], "claimed_at": {}}', b'{"ended_at": "x"}']


@pytest.mark.parametrize("content", HOSTILE)
@pytest.mark.parametrize("name", ["output/attempt-1/node-0.json", "output/attempt-1/progress.json", "attempts/1.json", "attempts/2.json"])
def test_a_planted_document_ends_no_start_and_gives_no_time(tmp_path: Path, name: str, content: bytes) -> None:
    for number in (1, 2):
        claim = {"submission": 0, "began_at": "2026-11-30T00:00:00Z", "claimed_at": "2026-11-30T00:00:01Z"}
        (tmp_path / "attempts").mkdir(exist_ok=True)
        (tmp_path / f"attempts/{number}.json").write_text(json.dumps(claim))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(content)
    now = datetime.fromisoformat("2026-11-30T01:00:00Z").timestamp()
    assert remaining_s(7200, tmp_path.as_uri(), 0, 2, now) <= 7200


def test_a_planted_number_of_an_attempt_costs_no_billion_reads(tmp_path: Path) -> None:
    assert remaining_s(7200, tmp_path.as_uri(), 0, 999_999_999, 0.0) == 7200
