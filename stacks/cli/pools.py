"""`gpuyard pools`: lists the pools that take jobs, with their free nodes."""

from __future__ import annotations

from . import options

__all__ = ["command"]


def command(stack: options.Stack = None, targets: options.Targets = None, json: options.Json = False) -> None:
    """List the pools that take jobs, with their free nodes and waiting jobs."""
    from dataclasses import asdict

    from gpuyard.counts import counted
    from gpuyard.training_jobs.runner import Runner

    from .documents import PoolDocument, PoolsDocument, emit
    from .targets import find_targets

    found, source = find_targets(stack, targets)
    capacity = Runner(found, source=source).capacity()
    pools = [PoolDocument(pool=name, target=target, **asdict(capacity[name])) for name, target in found.items()]
    if json:
        emit(PoolsDocument(pools=pools))
        return
    for pool in pools:
        target = pool.target
        has = f"{target.gpus_per_node} {target.accelerator}" if target.accelerator else counted(target.slots, "CPU slot")
        waiting = counted(pool.waiting, "job")
        wrong = f"   {pool.detail}" if pool.detail else ""
        print(f"{pool.pool}  {target.kind}  {has} per node   nodes {pool.free} of {pool.nodes} free, {waiting} waiting{wrong}")
