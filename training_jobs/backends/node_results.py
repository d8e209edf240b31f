"""The exit codes that the nodes of a job left in the run bucket, for services that themselves tell only text."""

from __future__ import annotations

import json
from typing import Any

from ..errors import GpuyardError
from ..run_layout import attempt_numbers, attempt_path, attempts_path, output_path, split_run_url
from ..store import Store, open_store


def exit_codes(run_url: str, submission: str, nodes: int) -> list[int | None]:
    """One for each node of the newest attempt that this submission claimed; None for a node that left none."""
    place = split_run_url(run_url)
    if place is None or not submission.isdigit():
        return [None] * nodes
    bucket, run_id = place
    try:
        store = open_store(bucket)
        attempt = _newest(store, run_id, int(submission))
        if attempt is None:
            return [None] * nodes
        return [_code(store, f"{output_path(run_id, attempt)}/node-{node}.json") for node in range(nodes)]
    except GpuyardError:  # the bucket cannot be read: the service's own word has to do
        return [None] * nodes


def starts(run_url: str, first: str) -> int:
    """How often nodes began since the attempt `first`, the lowest that a submission may claim; 0 where that cannot be read."""
    place = split_run_url(run_url)
    if place is None or not first.isdigit():
        return 0
    bucket, run_id = place
    try:
        names = open_store(bucket).names(attempts_path(run_id))
    except GpuyardError:
        return 0
    return sum(number >= int(first) for number in attempt_numbers(names))


def _newest(store: Store, run_id: str, submission: int) -> int | None:
    numbers = reversed(attempt_numbers(store.names(attempts_path(run_id))))
    return next((number for number in numbers if _object(store, attempt_path(run_id, number)).get("submission") == submission), None)


def _code(store: Store, path: str) -> int | None:
    code = _object(store, path).get("exit_code")
    return code if isinstance(code, int) else None


def _object(store: Store, path: str) -> dict[str, Any]:
    found = store.read(path)
    try:
        data = json.loads(found[0]) if found else {}
    except ValueError:  # torn by the end of the node
        return {}
    return data if isinstance(data, dict) else {}
