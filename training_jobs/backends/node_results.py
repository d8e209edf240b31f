"""Read from the run bucket the exit codes of a job's nodes and how often the nodes started. Services do not report these."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..bucket_documents import MAX_BYTES, parse_document
from ..errors import GpuyardError
from ..run_layout import MOST_CLAIMS, attempt_numbers, attempt_path, attempts_path, claimed_attempts, output_path, split_run_url
from ..store import Store, UnreadableError, open_store

__all__ = ["count_starts", "node_exit_codes"]

_MOST_READS = 200  # of claims, until the newest one of the submission is found
_NUMBER = re.compile("[0-9]{1,9}")


def node_exit_codes(environment: Mapping[str, str], nodes: int) -> list[int | None]:
    """Return the exit code of each node in the newest attempt of a submission. `environment` has the job's variables.

    None: the node wrote no code, or the bucket cannot be read.
    """
    found, submission = split_run_url(environment.get("GPUYARD_RUN_URL", "")), environment.get("GPUYARD_SUBMISSION", "")
    if found is None or not _NUMBER.fullmatch(submission):
        return [None] * nodes
    bucket, run_id = found
    try:
        store = open_store(bucket)
        attempt = _newest_attempt(store, run_id, int(submission))
        if attempt is None:
            return [None] * nodes
        return [_exit_code(store, f"{output_path(run_id, attempt)}/node-{node}.json") for node in range(nodes)]
    except GpuyardError:  # then the service's own report decides
        return [None] * nodes


def count_starts(environment: Mapping[str, str]) -> int:
    """Return how often a submission's nodes started: the number of its claimed attempts. 0 if they cannot be read."""
    found, first = split_run_url(environment.get("GPUYARD_RUN_URL", "")), environment.get("GPUYARD_FIRST_ATTEMPT", "")
    if found is None or not _NUMBER.fullmatch(first):
        return 0
    bucket, run_id = found
    try:
        names = open_store(bucket).names(attempts_path(run_id), MOST_CLAIMS)
    except GpuyardError:
        return 0
    return len(claimed_attempts(attempt_numbers(names), int(first)))


def _newest_attempt(store: Store, run_id: str, submission: int) -> int | None:
    numbers = reversed(attempt_numbers(store.names(attempts_path(run_id), MOST_CLAIMS))[-_MOST_READS:])
    return next((number for number in numbers if _read(store, attempt_path(run_id, number)).get("submission") == submission), None)


def _exit_code(store: Store, path: str) -> int | None:
    code = _read(store, path).get("exit_code")
    return code if isinstance(code, int) and not isinstance(code, bool) and 0 <= code <= 255 else None


def _read(store: Store, path: str) -> dict[str, object]:
    try:
        found = store.read(path, MAX_BYTES)
    except UnreadableError:
        return {}
    return (parse_document(found[0]) if found else None) or {}
