"""Hugging Face Trainer, Accelerate, Lightning and plain DDP on 2 nodes: killed, stopped and resumed (`make frameworks`)."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.helpers.node_processes import CHECKOUT, NodeProcesses, finish

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.skipif(sys.platform != "linux", reason="a node address of its own and PR_SET_PDEATHSIG are Linux's"),
]
_EXIT_S = 600  # importing transformers takes minutes on a busy machine
# Kills rank 1 once after step 30, and makes steps slow enough to be stopped.
DISTURBED = """
import os, time
from gpuyard.training_jobs.launch import hook
stop_requested = hook.stop_requested
calls = [0]
def disturbed(*args):
    calls[0] += 1
    if os.environ["GPUYARD_ATTEMPT"] == "1":
        time.sleep(0.05)
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "1" and calls[0] == 30:
            os.kill(os.getpid(), 9)
    return stop_requested(*args)
hook.stop_requested = disturbed
"""


@pytest.mark.parametrize(
    ("package", "example", "end"),
    [
        ("transformers", "frameworks/hugging_face_trainer.py", "done: step 60, loss 0."),
        ("accelerate", "frameworks/accelerate_loop.py", "done: step 60, loss 0."),
        ("lightning", "frameworks/lightning_module.py", "done: step 60, loss 0."),
        ("torch", "own-script/train.py", "step 300/300  loss 0."),
    ],
)
def test_a_killed_and_stopped_run_resumes(tmp_path: Path, package: str, example: str, end: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make frameworks installs it")
    script = (CHECKOUT / "examples" / example).read_text()
    assert 1 <= sum("# gpuyard " in line for line in script.splitlines()) <= 5
    job = {"nodes": 2, "nproc_per_node": 1, "max_restarts": 2, "env": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}
    run = NodeProcesses(tmp_path, job, {"train.py": DISTURBED + script})
    nodes = run.submit()
    progress = run.until(
        lambda: (p := run.output(1, "progress.json"))["restarts"] == 1 and p["phase"] == "running" and p["step"] > 22 and p
    )
    assert progress["first_step"] == 1
    nodes[1].send_signal(signal.SIGTERM)
    assert finish(nodes, _EXIT_S) == [75, 75], run.log(0)
    stopped_at = run.output(1, "progress.json")["step"]
    assert 20 < stopped_at < 60
    assert finish(run.submit(), _EXIT_S) == [0, 0], run.log(0)
    assert run.output(2, "progress.json")["first_step"] == stopped_at + 1
    assert end in run.log(0)
