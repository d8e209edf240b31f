"""The JSON documents between a node and its elastic agent: the node sends AgentPlan, the agent writes AgentState."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from .hook import BAD_CONFIG, FABRIC, RESUMABLE

__all__ = ["FINAL_CODES", "AgentPlan", "AgentState", "delete_state", "read_state", "write_state"]

FINAL_CODES = (BAD_CONFIG, FABRIC, RESUMABLE)
"""Exit codes of a worker after which the workers are not restarted."""


@dataclass(frozen=True)
class AgentPlan:
    """The settings of one node's agent. `listen_fd`: bound socket of the agents' store on node 0; None on other nodes."""

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
    """The state of a node's workers. `code` is None while they run. `changed_at`: Unix time at which a failure was seen."""

    phase: str
    restarts: int
    changed_at: float
    code: int | None = None
    rank: int | None = None
    signal: int | None = None
    tail: tuple[str, ...] = ()


def read_state(folder: Path) -> AgentState | None:
    """Read the newest state. Returns None if the agent has not written any state yet."""
    try:
        return AgentState(**json.loads((folder / "agent.json").read_bytes()))
    except FileNotFoundError:
        return None


def delete_state(folder: Path) -> None:
    """Delete the state of an earlier attempt's agent, if there is one."""
    (folder / "agent.json").unlink(missing_ok=True)


def write_state(folder: Path, state: AgentState) -> None:
    """Replace agent.json atomically."""
    temporary = folder / ".agent.json"
    temporary.write_text(json.dumps(asdict(state)), encoding="utf-8")
    os.replace(temporary, folder / "agent.json")
