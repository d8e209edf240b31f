"""The trainer under launch, disturbed at a chosen moment: a stop in each phase, a hanging collective, a kill during a save."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from gpuyard.training_jobs.train.config import Config
from gpuyard.training_jobs.train.sampling import SampleOrder
from gpuyard.training_jobs.train.shards import DataIndex, ShardFile, write_index
from tests.helpers.node_processes import NodeProcesses, finish
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a node address of its own and PR_SET_PDEATHSIG are Linux's")
SETTINGS = ["steps=5", "batch=4", "context=16", "width=16", "layers=1", "corpus_bytes=50000", "val_bytes=4096", "dropout=0.1"]

# The trainer. In an attempt with a chosen moment it waits there for a stop request, and then continues. At the moment "kill" it writes
# a part of a checkpoint's file and dies.
HELD = """
import os, pathlib, signal, sys, time
words, attempt = sys.argv[2:], int(os.environ["GPUYARD_ATTEMPT"])
moment = dict(enumerate(sys.argv[1].split(","), 1)).get(attempt, "never")
def hold():
    pathlib.Path("held").touch()
    while moment in ("import", "compile") or not os.path.exists(os.environ["GPUYARD_STOP_FILE"]):
        time.sleep(0.01)  # a long import or compilation does not poll for a stop
def hold_at(owner, name, when=lambda *args: True):
    real = getattr(owner, name)
    def held(*args, **more):
        if when(*args):
            hold()
        return real(*args, **more)
    setattr(owner, name, held)
if moment == "import":
    hold()
import torch
from gpuyard.training_jobs.train import __main__, checkpoint_store, data, export, loop
if moment == "compile":  # compilation happens at the first call of a block
    def compiled(forward, mode):
        block = type("Block", (), {"forward": staticmethod(forward)})
        hold_at(block, "forward")
        return block.forward
    torch.compile = compiled
if moment == "first step":
    hold_at(loop.Trainer, "_read_votes", lambda self, last: self.step == 1)
if moment == "save":
    hold_at(checkpoint_store.CheckpointStore, "put", lambda self, step, *_: step == 2)
if moment == "kill":
    put = checkpoint_store.put
    def torn(fs, path, data, local):
        if "/4/state-" in path:
            put(fs, path.replace("state-", ".tmp-state-"), data[:-1], local)
            os.kill(os.getpid(), signal.SIGKILL)
        put(fs, path, data, local)
    checkpoint_store.put = torn
if moment == "validation":
    hold_at(data.TokenWindows, "part", lambda self, first, last: first > 0)
if moment == "export":
    hold_at(export, "write")
sys.exit(__main__.main(words))
"""
SLEEPING_SMI = """#!/bin/sh
touch "$GPUYARD_WORKDIR/code/held"
exec sleep 60
"""


def _run(folder: Path, moments: str, *more: str) -> NodeProcesses:
    """Prepare a run with a moment for each attempt, separated by commas."""
    argv = [sys.executable, "train.py", moments, *SETTINGS, "save_every_steps=2", *more]
    run = NodeProcesses(folder, {"command": argv, "launcher": "none", "nodes": 1}, {"train.py": HELD})
    folder.mkdir(exist_ok=True)
    return run


def _saved(run: NodeProcesses) -> list[int]:
    """Return the newest saved step of the run; empty if nothing was saved."""
    return sorted(int(path.parent.name) for path in run.run.glob("checkpoints/*/commit-*.json"))[-1:]


def _result(run: NodeProcesses) -> dict[str, object]:
    found = json.loads((run.run / "output/result.json").read_text())
    return {name: found[name] for name in ("step", "loss", "val_loss")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    run = _run(tmp_path_factory.mktemp("undisturbed"), "never")
    assert finish(run.submit()) == [0], run.log(0)
    return _result(run)


def _stop(run: NodeProcesses, code: int, **changes: object) -> None:
    """Submit the run, request a stop at its next moment, and check how it ends."""
    nodes = run.submit(grace_s=30, **changes)
    wait_for(lambda: (run.folder / f"{run.submissions - 1}-0/code/held").exists())
    nodes[0].send_signal(signal.SIGTERM)
    assert finish(nodes, 40) == [code], run.log(0)
    assert run.output(run.submissions, "node-0.json")["stopped"]
    assert not run.processes()


def test_stops_and_a_kill_do_not_change_the_result(tmp_path: Path, undisturbed: dict[str, object]) -> None:
    """A stop during a save, a kill during an asynchronous save, and a stop during the validation, each in an attempt of its own."""
    run = _run(tmp_path, "save,kill,validation")
    _stop(run, 75)
    assert _saved(run) == [3]
    assert finish(run.submit(command=[*run.job["command"], "saving=async"])) == [137], run.log(0)
    assert "resumed from step 3, saved by attempt 1" in run.log(0)
    torn = run.run / "checkpoints/4/.tmp-state-2-0-0.safetensors"
    assert torn.stat().st_size > 0
    _stop(run, 75)
    assert "resumed from step 3, saved by attempt 1" in run.log(0)
    assert _saved(run) == [5]
    assert finish(run.submit()) == [0], run.log(0)
    assert _result(run) == undisturbed
    assert not torn.exists()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("moment", "code", "saved"),
    [*((name, 75, []) for name in ("import", "preflight", "compile")), ("first step", 75, [2]), ("export", 0, [5])],
)
def test_a_stop_in_any_phase(tmp_path: Path, undisturbed: dict[str, object], moment: str, code: int, saved: list[int]) -> None:
    run = _run(tmp_path, moment, *(["compile=on"] if moment == "compile" else []))
    if moment == "preflight":
        smi = tmp_path / "nvidia-smi"
        smi.write_text(SLEEPING_SMI)
        smi.chmod(0o755)
        run.node_env = {0: {"PATH": f"{tmp_path}:{os.environ['PATH']}"}}
    _stop(run, code, preflight="required" if moment == "preflight" else "skip")
    assert _saved(run) == saved
    if moment == "export":
        assert _result(run) == undisturbed


HANGS = """
import os, sys, time
from gpuyard.training_jobs.launch import hook
from gpuyard.training_jobs.train.__main__ import main
report = hook.report
def hang(step, **metrics):
    report(step, **metrics)
    if step == 2 and os.environ["RANK"] == "1":
        time.sleep(600)  # the other rank waits for it in the next step
hook.report = hang
sys.exit(main(sys.argv[1:]))
"""


def test_a_stop_is_obeyed_in_time_although_a_collective_hangs(tmp_path: Path) -> None:
    run = NodeProcesses(tmp_path, {"command": ["hangs.py", *SETTINGS], "nodes": 1}, {"hangs.py": HANGS})
    nodes = run.submit(grace_s=8)
    run.until(lambda: run.output(1, "progress.json")["step"] == 2)
    nodes[0].send_signal(signal.SIGTERM)
    assert finish(nodes, 20) == [75], run.log(0)
    assert "but the step does not end; exiting without a new checkpoint" in run.log(0)
    assert "in _one_step" in run.log(0)  # the hanging line is reported
    wait_for(lambda: not run.processes(), limit_s=5)


def test_a_damaged_shard_that_another_rank_than_0_meets_ends_the_job(tmp_path: Path) -> None:
    tokens, files = np.zeros(16 * 11, np.uint8), list[ShardFile]()  # 10 windows
    order, _ = SampleOrder([10, 10], Config().seed).shards(0)
    for number, name in enumerate(("first", "second")):
        (tmp_path / f"{name}.bin").write_bytes(tokens.tobytes() if number == order[0] else b"?" * len(tokens))
        files.append({"file": f"{name}.bin", "count": len(tokens), "sha256": hashlib.sha256(tokens.tobytes()).hexdigest()})
    write_index(tmp_path.as_uri(), DataIndex("tokens", "|u1", 256, {"train": files, "val": files}))
    command = ["-m", "gpuyard.training_jobs.train", *SETTINGS, f"data={tmp_path.as_uri()}"]
    run = NodeProcesses(tmp_path, {"command": command, "nodes": 1, "max_restarts": 2})
    assert finish(run.submit(), 60) == [64], run.log(0)  # in step 2, rank 0 still reads the intact shard
    assert run.log(0).count(" is damaged: sha256 ") == 1
    assert "[rank 1] train: " in run.log(0).replace("[rank 1]:", "[rank 1] ")
    assert run.output(1, "progress.json")["step"] == 2
    assert not run.processes()
