"""The agent's plan, which launch writes, and its state, which launch reads."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from .hook import BAD_CONFIG, FABRIC, RESUMABLE

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
