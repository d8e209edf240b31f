"""Find out why a job waits: the state of the compute environment behind a Batch queue."""

from __future__ import annotations

import time

from ....plain_data import PlainMapping
from ...clouds.aws import AwsClients
from ...errors import GpuyardError

__all__ = ["DISABLED", "read_reason", "wait_reason"]

DISABLED = "the pool is closed: its compute environment is DISABLED, because it expired or too many of its machines were broken"
"""Reason for an environment that a person, its expiry or the limit of replacements has disabled."""
_CHECK_S = 60.0
_HEALTHY = "ComputeEnvironment Healthy"
"""The reason that Batch reports for an environment without a problem."""
_known: dict[tuple[int, str], tuple[float, str]] = {}
"""(clients, queue) -> time.monotonic of the last read, and its result."""


def wait_reason(aws: AwsClients, queue: str) -> str:
    """Return the reason why a queue's compute environments start no machines.

    Empty if Batch reports none, or if the caller has no permission to read it. The result is cached for a minute, because every poll
    of a waiting job needs it.
    """
    key, now = (id(aws), queue), time.monotonic()
    read_at, text = _known.get(key, (float("-inf"), ""))
    if now - read_at >= _CHECK_S:
        try:
            text = read_reason(aws, queue)
        except GpuyardError:
            text = ""
        _known[key] = now, text
    return text


def read_reason(aws: AwsClients, queue: str) -> str:
    """Return the reason why a queue's compute environments start no machines; empty = none. Raises GpuyardError."""
    queues = aws.call("batch", "describe_job_queues", {"jobQueues": [queue]})["jobQueues"]
    names = [entry["computeEnvironment"] for found in queues for entry in found["computeEnvironmentOrder"]]
    if not names:
        return ""
    environments = aws.call("batch", "describe_compute_environments", {"computeEnvironments": names})["computeEnvironments"]
    return "; ".join(filter(None, map(_problem, environments)))


def _problem(environment: PlainMapping) -> str:
    """Return why an environment starts no machines: it is disabled or invalid, or lacks quota or capacity. Empty = no problem."""
    state, status, reason = environment.get("state"), environment.get("status", "VALID"), environment.get("statusReason") or ""
    if state == "DISABLED":
        return DISABLED
    if status not in ("VALID", "UPDATING") or (reason and reason != _HEALTHY):
        return f"compute environment {status}: {reason or 'no reason given'}"
    return ""
