"""The exit codes that the nodes of a job left in the run bucket, for services that themselves tell only text."""

from __future__ import annotations

import json
from typing import Any

from ..errors import GpuyardError
from ..store import Store, open_store


def exit_codes(run_url: str, submission: str, nodes: int) -> list[int | None]:
    """One for each node of the newest attempt that this submission claimed; None for a node that left none."""
    bucket, _, run = run_url.partition("/gpuyard/runs/")
    if not run or not submission.isdigit():
        return [None] * nodes
    try:
        store = open_store(bucket)
        attempt = _newest(store, f"gpuyard/runs/{run}/attempts", int(submission))
        folder = f"gpuyard/runs/{run}/output/attempt-{attempt}"
        return [_code(store, f"{folder}/node-{node}.json") if attempt else None for node in range(nodes)]
    except GpuyardError:  # the bucket cannot be read: the service's own word has to do
        return [None] * nodes


def starts(run_url: str, first: str) -> int:
    """How often nodes began since the attempt `first`, the lowest that a submission may claim; 0 where that cannot be read."""
    bucket, _, run = run_url.partition("/gpuyard/runs/")
    if not run or not first.isdigit():
        return 0
    try:
        names = open_store(bucket).names(f"gpuyard/runs/{run}/attempts")
    except GpuyardError:
        return 0
    return sum(int(number) >= int(first) for name in names if (number := name.removesuffix(".json")).isdigit())


def _newest(store: Store, folder: str, submission: int) -> int | None:
    numbers = sorted(
        (int(name.removesuffix(".json")) for name in store.names(folder) if name.removesuffix(".json").isdigit()), reverse=True
    )
    return next((number for number in numbers if _object(store, f"{folder}/{number}.json").get("submission") == submission), None)


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
