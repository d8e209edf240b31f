"""The job target of a partition of an existing Slurm cluster. The head writes it beside its queue."""

from __future__ import annotations

import json
import re

from ...problems import Problem
from ..errors import UsageError
from ..target import Price, SlurmTarget

__all__ = ["queue_target", "split_queue_url"]

_QUEUE = re.compile(r"(?P<bucket>[a-z0-9]+://.+)/gpuyard/queues/(?P<pool>[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?)")


def split_queue_url(url: str) -> tuple[str, str]:
    """Return the run bucket and the pool of a queue's URL. Raises UsageError for another URL."""
    found = _QUEUE.fullmatch(url.rstrip("/"))
    if found is None:
        allowed = "<run bucket>/gpuyard/queues/<pool>, such as s3://acme-runs/gpuyard/queues/dgx"
        raise UsageError("the queue cannot be served", [Problem("--queue", "not the URL of a queue", url, allowed)])
    return found["bucket"], found["pool"]


def queue_target(bucket: str, pool: str, partition: str, nodes: int, gpus_per_node: int, accelerator: str | None) -> bytes:
    """Return targets.json for one pool. `nodes`: usable nodes of the partition, the most that a job may ask for."""
    target = SlurmTarget(
        kind="slurm",
        stack=f"slurm/{pool}",
        pool=pool,
        run_bucket=bucket,
        buckets={"runs": bucket},
        machine=partition,
        accelerator=accelerator,
        gpus_per_node=gpus_per_node,
        min_nodes=0,
        max_nodes=max(1, nodes),
        price=Price(usd_per_node_hour=None, source="an existing Slurm cluster"),
        partition=partition,
    )
    return json.dumps({pool: target.model_dump(mode="json")}, indent=2).encode()
