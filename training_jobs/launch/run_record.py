"""Reads a submission from a run's record (run.json), and defines types for the fields that a node uses."""

from __future__ import annotations

import hashlib
import json
from typing import NotRequired, TypedDict

from . import objects
from .hook import BAD_CONFIG
from .node_exit import NodeExitError

__all__ = ["CheckpointSettings", "FabricFloor", "Job", "SubmissionRecord", "read_submission"]


class CheckpointSettings(TypedDict):
    """Seconds between saves, and number of checkpoints to keep."""

    every_s: float
    keep: int


class FabricFloor(TypedDict):
    """The required network between the nodes: NCCL's transport, and `floor` as a fraction of the line rate."""

    transport: str
    line_rate_gbps: float
    floor: float | None


class Job(TypedDict):
    """The resolved job document: defaults filled in, names replaced by URLs and references."""

    command: list[str]
    setup: list[str] | None
    launcher: str
    nodes: int
    nproc_per_node: int
    env: dict[str, str]
    secrets: dict[str, str]
    data: dict[str, str]
    checkpoint: CheckpointSettings
    max_restarts: int
    preflight: str
    fabric: FabricFloor | None
    copied_data: NotRequired[list[str]]  # names in `data` with `mount: copy`


class SubmissionRecord(TypedDict):
    """One submission of a run. `attempt` is the lowest attempt number that its nodes may claim."""

    job: Job
    attempt: int


def read_submission(url: str, index: int, job_digest: str) -> SubmissionRecord:
    """Read one submission from the record at `url`. Raises NodeExitError (64) if it is missing or has another digest.

    `job_digest` comes from the service's request. So a record that was changed after the submit is refused.
    """
    content = objects.read(url)
    if content is None:
        raise NodeExitError(BAD_CONFIG, f"{url} does not exist; submit the job again")
    submissions: list[SubmissionRecord] = json.loads(content)["submissions"]
    if index >= len(submissions):
        raise NodeExitError(BAD_CONFIG, f"GPUYARD_SUBMISSION: not in {url}, got {index}, allowed: 0..{len(submissions) - 1}")
    found = submissions[index]
    content = json.dumps({"attempt": found["attempt"], "job": found["job"]}, sort_keys=True, separators=(",", ":")).encode()
    if hashlib.sha256(content).hexdigest() != job_digest:
        text = f"GPUYARD_JOB_DIGEST: does not match the job in {url}, got {job_digest or 'nothing'}; submit the job again"
        raise NodeExitError(BAD_CONFIG, text)
    return found
