"""Seconds from kill -9 of one of two nodes until training goes on: launch, the node started again at once, and torchrun as it comes.

The same script on both: all ranks sum a number, over and over. Whoever takes a step writes it down. `python benchmarks/node_loss.py`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from gpuyard.training_jobs.launch.control_channel import free_port
from tests.helpers.node_processes import FakeRun
from tests.helpers.waiting import wait_for

SCRIPT = """
import os, pathlib, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
while True:
    dist.all_reduce(torch.ones(1))
    pathlib.Path(sys.argv[1], f"{os.getpid()}-of-{dist.get_world_size()}").touch()
    time.sleep(0.01)
"""


def again(steps: Path, lose: Callable[[], None]) -> tuple[float, int]:
    """Lose a node; the seconds until a process that was not there before takes a step, and among how many ranks."""
    wait_for(lambda: len(list(steps.glob("*-of-2"))) == 2)
    before = set(steps.iterdir())
    began = time.monotonic()
    lose()
    new: set[Path] = wait_for(lambda: set(steps.iterdir()) - before, limit_s=120)
    return time.monotonic() - began, int(new.pop().name.split("-")[-1])


def launch(folder: Path) -> tuple[float, int]:
    """Launch, with a service that starts lost nodes again."""
    steps = folder / "steps"
    steps.mkdir()
    returns = {"GPUYARD_RETURN_S": "60"}
    job = {"command": ["step.py", str(steps)], "nproc_per_node": 1, "max_restarts": 3}
    run = FakeRun(folder, job, {"step.py": SCRIPT}, node_env={0: returns, 1: returns})
    nodes = run.submit()
    try:
        return again(steps, partial(_replace, run, nodes))
    finally:
        _end([node.pid for node in nodes])
        wait_for(lambda: not run.processes(), limit_s=10)


def _replace(run: FakeRun, nodes: list[subprocess.Popen[bytes]]) -> None:
    nodes[1].kill()
    nodes.append(run.start(1))


def torchrun(folder: Path) -> tuple[float, int]:
    """What torchrun does by itself, elastic over one or two nodes: it goes on with the one that is left."""
    steps, script = folder / "steps", folder / "step.py"
    steps.mkdir()
    script.write_text(SCRIPT)
    store = "127.0.0.1", free_port("127.0.0.1")
    endpoint = f"--rdzv-endpoint={store[0]}:{store[1]}"
    own = ["--nnodes=1:2", "--nproc-per-node=1", "--rdzv-backend=c10d", endpoint, "--rdzv-id=x", "--max-restarts=3"]
    argv = [sys.executable, "-m", "torch.distributed.run", *own, str(script), str(steps)]
    nodes: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        nodes.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    start()
    wait_for(lambda: _listens(store))  # the first one holds the store
    start()
    try:
        return again(steps, lambda: _end([nodes[1].pid]))
    finally:
        _end([node.pid for node in nodes])


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def _end(nodes: list[int]) -> None:
    """SIGKILL for these and everything below: torchrun's workers outlive their agent."""
    for node in nodes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (*psutil.Process(node).children(recursive=True), psutil.Process(node)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)


def main() -> None:
    """One after the other, and the ratio."""
    taken = {}
    for name, act in (("torchrun", torchrun), ("launch", launch)):
        with tempfile.TemporaryDirectory() as folder:
            taken[name], ranks = act(Path(folder))
        print(f"{name:<8} {taken[name]:5.1f} s until {ranks} rank(s) go on", flush=True)
    print(f"ratio torchrun / launch: {taken['torchrun'] / taken['launch']:.1f}   (goal: launch goes on within 10 s)")


if __name__ == "__main__":
    main()
