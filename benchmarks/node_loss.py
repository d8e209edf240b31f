"""Seconds from kill -9 of one of two nodes until training goes on: gpuyard's launch with a restarted node, against plain torchrun.

Both run the same script: all ranks add up a number in a loop, and each rank writes a file when its first step is done.
Run it with `python benchmarks/node_loss.py`.
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
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from benchmarks.fakes.service import NodeService, free_port

T = TypeVar("T")
SCRIPT = """
import os, pathlib, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
while True:
    dist.all_reduce(torch.ones(1))
    pathlib.Path(sys.argv[1], f"{os.getpid()}-of-{dist.get_world_size()}").touch()
    time.sleep(0.01)
"""


def wait_for(find: Callable[[], T | None], limit_s: float = 300) -> T:
    """Return the first truthy value. Raises TimeoutError after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not (found := find()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no result after {limit_s:.0f} s")
        time.sleep(0.02)
    return found


def measure_recovery(steps: Path, lose_node: Callable[[], None]) -> tuple[float, int]:
    """Kill a node. Return the seconds until a new process takes a step, and the number of ranks of that process."""
    wait_for(lambda: len(list(steps.glob("*-of-2"))) == 2)
    before = set(steps.iterdir())
    began = time.monotonic()
    lose_node()
    new: set[Path] = wait_for(lambda: set(steps.iterdir()) - before, limit_s=120)
    return time.monotonic() - began, int(new.pop().name.split("-")[-1])


def measure_launch(folder: Path) -> tuple[float, int]:
    """Measure gpuyard's launch under a service that restarts a lost node at once."""
    steps, code = folder / "steps", folder / "code"
    for path in (steps, code):
        path.mkdir()
    (code / "step.py").write_text(SCRIPT)
    service = NodeService(folder, code, ["step.py", str(steps)])
    nodes = [service.start(node) for node in range(2)]
    try:
        return measure_recovery(steps, partial(_replace, service, nodes))
    finally:
        _kill([node.pid for node in nodes])
        wait_for(lambda: not service.processes(), limit_s=10)


def _replace(service: NodeService, nodes: list[subprocess.Popen[bytes]]) -> None:
    nodes[1].kill()
    nodes.append(service.start(1))


def measure_torchrun(folder: Path) -> tuple[float, int]:
    """Measure torchrun alone, elastic over one or two nodes: it continues with the remaining node."""
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
    wait_for(lambda: _is_listening(store))  # the first node hosts the store
    start()
    try:
        return measure_recovery(steps, lambda: _kill([nodes[1].pid]))
    finally:
        _kill([node.pid for node in nodes])


def _is_listening(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def _kill(pids: list[int]) -> None:
    """Send SIGKILL to these processes and their descendants: torchrun's workers outlive their agent."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (*psutil.Process(pid).children(recursive=True), psutil.Process(pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)


def main() -> None:
    """Measure both, one after the other, and print the ratio."""
    seconds = {}
    for name, measure in (("torchrun", measure_torchrun), ("launch", measure_launch)):
        with tempfile.TemporaryDirectory() as folder:
            seconds[name], ranks = measure(Path(folder))
        print(f"{name:<8} {seconds[name]:5.1f} s until training goes on with {ranks} {'rank' if ranks == 1 else 'ranks'}", flush=True)
    print(f"ratio torchrun / launch: {seconds['torchrun'] / seconds['launch']:.1f}   (goal: launch goes on within 10 s)")


if __name__ == "__main__":
    main()
