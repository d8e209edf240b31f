"""The files of a local pool's directory: their JSON fields, atomic writes, and the names of queue entries."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, NotRequired, TypeAlias, TypedDict, cast

from ...errors import LostSightError
from ...state import Reason, State
from ...store import UnreadableError, read_regular_file
from ..base import RUN_VARIABLES

__all__ = [
    "JobEntry", "LeaseFile", "PoolNode", "Ticket", "parse_job_entry", "parse_lease", "parse_nodes", "read_json", "write_json",
]  # fmt: skip

_TICKET = re.compile(r"([0-9]{20})-([0-9]{1,12}\.[0-9]{3})-([A-Za-z0-9._-]+)")

_Kind: TypeAlias = type | tuple[type, ...]
_TIME: _Kind = (int, float)
_NO_TIME: _Kind = (int, float, NoneType)
_JOB_REQUIRED: Mapping[str, _Kind] = {
    **dict.fromkeys(("run_id", "limit_reason", "state", "ticket"), str),
    **dict.fromkeys(("nodes", "limit_s", "grace_s"), int),
    "environment": dict,
    "submitted_at": _TIME,
    "expires_at": _NO_TIME,
    "started_at": _NO_TIME,
}
_JOB_OPTIONAL: Mapping[str, _Kind] = {
    **dict.fromkeys(("cgroup", "reason", "detail"), (str, NoneType)),
    "starts": int,
    "assigned": list,
    "exit_code": (int, NoneType),
    "ended_at": _TIME,
}


class PoolNode(TypedDict):
    """One node of pool.json (docs/local-pool.md)."""

    index: int
    address: str
    slots: int
    gpus: list[int]


class LeaseFile(TypedDict):
    """leases/<run_id>.json: the nodes of a running job, and its supervisor (docs/local-pool.md)."""

    version: int
    run_id: str
    pid: int
    started: str
    nodes: list[int]
    job: str


class JobEntry(TypedDict):
    """jobs/<name>/job.json: the submitted job and its progress. Times are Unix times."""

    run_id: str
    nodes: int
    limit_s: int
    limit_reason: str
    grace_s: int
    environment: dict[str, str]
    submitted_at: float
    expires_at: float | None  # end of its queue_timeout; None = waits without limit
    started_at: float | None
    state: NotRequired[str]
    ticket: NotRequired[str]  # file name of its place in the queue
    starts: NotRequired[int]  # of its supervisor
    assigned: NotRequired[list[int]]  # indices of its nodes
    cgroup: NotRequired[str | None]  # folder of its control group
    ended_at: NotRequired[float]
    reason: NotRequired[str | None]
    exit_code: NotRequired[int | None]
    detail: NotRequired[str | None]


class Ticket(NamedTuple):
    """A job's place in the queue. All fields are in the file's name, so one directory listing reads the whole queue."""

    sequence: int
    expires_at: float  # Unix time; 0 = never
    job: str

    @classmethod
    def parse(cls, name: str) -> Ticket | None:
        """Parse the file name of a ticket; None for any other name."""
        found = _TICKET.fullmatch(name)
        return cls(int(found[1]), float(found[2]), found[3]) if found else None

    def __str__(self) -> str:
        return f"{self.sequence:020d}-{self.expires_at:.3f}-{self.job}"


def read_json(path: Path, fix: str = "remove the file when no job of the pool runs") -> Any:
    """Return a file's JSON; None if the file does not exist. Raises LostSightError for a file that cannot be read, with `fix`."""
    try:
        return json.loads(read_regular_file(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError, UnreadableError) as error:
        raise LostSightError(f"cannot read {path}: {error}; {fix}") from None


def parse_nodes(data: object) -> list[PoolNode] | None:
    """Parse the document of pool.json and return its nodes; None if it is not valid."""
    nodes = data.get("nodes") if isinstance(data, dict) else None
    shape = {"index": int, "address": str, "slots": int, "gpus": list}
    if not isinstance(nodes, list) or not all(_has_keys(node, shape) and _are_indices(node["gpus"]) for node in nodes):
        return None
    return nodes


def parse_lease(data: object) -> LeaseFile | None:
    """Parse the document of a lease; None if it is not valid."""
    shape = {"run_id": str, "pid": int, "started": str, "nodes": list, "job": str}
    return cast(LeaseFile, data) if _has_keys(data, shape) and _are_indices(cast(LeaseFile, data)["nodes"]) else None


def parse_job_entry(data: object) -> JobEntry | None:
    """Parse the document of job.json; None if it is not valid."""
    present = {key: kind for key, kind in _JOB_OPTIONAL.items() if isinstance(data, dict) and key in data}
    if not _has_keys(data, {**_JOB_REQUIRED, **present}):
        return None
    entry = cast(JobEntry, data)
    known = entry["state"] in set(State) and entry.get("reason") in {None, *Reason} and _are_indices(entry.get("assigned", []))
    return entry if known and RUN_VARIABLES.issuperset(entry["environment"]) else None


def _has_keys(data: object, shape: Mapping[str, _Kind]) -> bool:
    return isinstance(data, dict) and all(key in data and _is(data[key], kind) for key, kind in shape.items())


def _is(value: object, kind: _Kind) -> bool:
    return isinstance(value, kind) and (not isinstance(value, float) or math.isfinite(value))


def _are_indices(values: list[int]) -> bool:
    return all(isinstance(value, int) for value in values)


def write_json(path: Path, data: Mapping[str, object]) -> None:
    """Replace a file atomically and sync it to disk, so that it survives a crash of the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name}-{os.getpid()}"
    try:
        with beside.open("w", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
