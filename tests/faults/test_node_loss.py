"""A node is killed with -9 and restarted: the others wait for it, and the run gives the result of an uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.node_processes import NodeProcesses, finish
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a node address of its own and PR_SET_PDEATHSIG are Linux's")
SETTINGS = ["steps=16", "batch=8", "context=32", "width=32", "layers=1", "corpus_bytes=200000", "val_bytes=8192", "dropout=0.1"]

# The trainer. In the first attempt it waits at a step until its node or another one is killed.
STAYS = """
import os, sys, time
from gpuyard.training_jobs.launch import hook
from gpuyard.training_jobs.train.__main__ import main
report = hook.report
def stay(step, **metrics):
    report(step, **metrics)
    if os.environ["GPUYARD_ATTEMPT"] == "1" and step == 7:
        time.sleep(600)
hook.report = stay
sys.exit(main(sys.argv[1:]))
"""


def _result(run: NodeProcesses) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.run / "output/result.json").read_text())
    return found


def _undisturbed(folder: Path, strategy: str) -> dict[str, Any]:
    """Train on the same ranks on one node, without a disturbance."""
    folder.mkdir()
    run = NodeProcesses(folder, {"command": ["-m", "gpuyard.training_jobs.train", *SETTINGS, f"strategy={strategy}"], "nodes": 1})
    assert finish(run.submit()) == [0], run.log(0)
    return _result(run)


@pytest.mark.parametrize(("strategy", "lost"), [pytest.param("ddp", 1, marks=pytest.mark.soak), ("fsdp", 0)])
def test_a_lost_node_that_returns_does_not_change_the_result(tmp_path: Path, strategy: str, lost: int) -> None:
    command = ["stays.py", *SETTINGS, f"strategy={strategy}", "save_every_steps=5"]
    returns = {"GPUYARD_RETURN_S": "60"}
    run = NodeProcesses(
        tmp_path, {"command": command, "nproc_per_node": 1, "max_restarts": 3, "setup": ["sh", "-c", "echo set up"]}, {"stays.py": STAYS}
    )
    run.node_env = {0: returns, 1: returns}
    nodes = run.submit()
    run.until(lambda: run.output(1, "progress.json")["step"] == 7)
    survivor = 1 - lost
    os.killpg(nodes[lost].pid, signal.SIGKILL)
    nodes[lost].wait()
    nodes[lost] = run.start(lost)
    assert finish(nodes) == [0, 0], run.log(survivor)

    found, undisturbed = _result(run), _undisturbed(tmp_path / "undisturbed", strategy)
    assert (found["loss"], found["val_loss"]) == (undisturbed["loss"], undisturbed["val_loss"])  # to the last bit
    assert (found["attempt"], found["lost_steps"], found["restarts"]) == (2, 2, 1)  # killed after step 7, saved at step 5
    assert f"node {lost} was lost" in run.log(survivor)
    assert f"waiting up to 60 s for node(s) [{lost}] to restart" in run.log(survivor)
    assert (run.log(survivor).count("set up\n"), run.log(lost).count("set up\n")) == (1, 2)  # once per node
    assert run.output(1, f"node-{survivor}.json")["exit_code"] == 75
    wait_for(lambda: not run.processes(), limit_s=5)
    assert not run.listening()
    assert not list(tmp_path.rglob(".tmp-*"))


@pytest.mark.parametrize("lost", [[0], [2], [1, 2]])
def test_all_nodes_start_the_next_attempt_after_lost_nodes_restart(tmp_path: Path, lost: list[int]) -> None:
    command = ["sh", "-c", "test $GPUYARD_ATTEMPT = 2 || exec sleep 600"]
    returns = {"GPUYARD_RETURN_S": "30"}
    run = NodeProcesses(tmp_path, {"command": command, "launcher": "none", "nodes": 3}, node_env=dict.fromkeys(range(3), returns))
    nodes = run.submit()
    run.until(lambda: run.output(1, "progress.json")["phase"] == "running")
    for node in lost:
        nodes[node].kill()
        nodes[node].wait()
    for node in lost:
        nodes[node] = run.start(node)
    assert finish(nodes, 30) == [0, 0, 0], run.log(0)
    assert [run.output(2, f"node-{node}.json")["exit_code"] for node in range(3)] == [0, 0, 0]
    assert not (run.run / "attempts/3.json").exists()
    wait_for(lambda: not run.processes(), limit_s=5)


def test_the_wait_for_a_lost_node_has_a_limit(tmp_path: Path) -> None:
    run = NodeProcesses(tmp_path, {"command": ["sleep", "600"], "launcher": "none"}, node_env={0: {"GPUYARD_RETURN_S": "1.5"}})
    nodes = run.submit()
    run.until(lambda: run.output(1, "progress.json")["phase"] == "running")
    nodes[1].kill()
    assert finish(nodes, 20) == [75, -signal.SIGKILL]
    assert "timed out waiting for node(s) [1]; the attempt can be resumed" in run.log(0)
    assert not (run.run / "attempts/2.json").exists()
    wait_for(lambda: not run.processes(), limit_s=5)
    assert not run.listening()
