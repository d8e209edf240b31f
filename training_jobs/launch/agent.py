"""torchrun's agent for one node, in a process of its own: starts the ranks, restarts them, says how they ended.

Usage: python -m training_jobs.launch.agent '<JSON of launch>'. Leaves <state>/agent.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from .children import shim
from .hook import BAD_CONFIG, DONE, FABRIC, RESUMABLE

FINAL = (BAD_CONFIG, FABRIC, RESUMABLE)
"""Exit codes of a worker that no restart can better."""


@dataclass(frozen=True)
class AgentPlan:
    """What launch tells the agent. `listen_fd`: node 0's bound socket for the agents' store."""

    run_id: str
    rank: int
    nodes: int
    nproc: int
    command: list[str]
    max_restarts: int
    main_address: str
    address: str
    port: int
    listen_fd: int | None
    state: str


@dataclass(frozen=True)
class AgentState:
    """What the agent tells launch. `code` is None while it runs; `changed_at` is when a failure was seen."""

    phase: str
    restarts: int
    changed_at: float
    code: int | None = None
    rank: int | None = None
    signal: int | None = None
    tail: tuple[str, ...] = ()


def read_state(folder: Path) -> AgentState | None:
    """The agent's last word; None before its first."""
    try:
        return AgentState(**json.loads((folder / "agent.json").read_bytes()))
    except FileNotFoundError:
        return None


def forget_state(folder: Path) -> None:
    """Before a new agent's first word."""
    (folder / "agent.json").unlink(missing_ok=True)


def write_state(folder: Path, state: AgentState) -> None:
    """Say where the agent is."""
    beside = folder / ".agent.json"
    beside.write_text(json.dumps(asdict(state)), encoding="utf-8")
    os.replace(beside, folder / "agent.json")


def main(argv: list[str]) -> int:
    """Run the agent to its end."""
    plan = AgentPlan(**json.loads(argv[0]))
    try:
        from torch.distributed.elastic.multiprocessing import SignalException

        from .elastic import Agent
    except ModuleNotFoundError as error:
        text = f"gpuyard: launcher torchrun needs torch on the node: {error}. Fix: pip install torch, in the image or in setup:"
        print(text, file=sys.stderr)
        write_state(Path(plan.state), AgentState("ended", 0, time.time(), BAD_CONFIG, tail=(text,)))
        return BAD_CONFIG
    agent = Agent(plan, sys.executable, (*shim(os.getpid())[1:], sys.executable, "-u", *plan.command))
    try:
        agent.run()
    except SignalException as stopped:  # launch ends it: the workers are gone by now
        return 128 + int(stopped.sigval)
    state = agent.last_word()
    write_state(Path(plan.state), state)
    return state.code or DONE


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch's threads can take seconds to be torn down, and have nothing left to do
