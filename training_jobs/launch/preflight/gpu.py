"""Measures one GPU, and NCCL between all GPUs of the job. The preflight starts one process per GPU.

Usage: python -m gpuyard.training_jobs.launch.preflight.gpu '<plan as JSON>'; the last line on stdout is the result.
Only the import of this file was tested, because no GPU was available. The decisions are in verdict.py and are tested.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .verdict import bus_gbs

__all__ = ["main"]

_SIDE = 8192
_GIB = 1 << 30
_SMALL, _LARGE = 64 << 20, _GIB
_ROUNDS = 5


def main(argv: list[str]) -> int:
    """Measure, and print the result as JSON."""
    plan = json.loads(argv[0])
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore, TCPStore

    local, gpus, nodes, node = plan["local"], plan["gpus"], plan["nodes"], plan["rank"]
    torch.cuda.set_device(local)
    found: dict[str, Any] = {"index": local, "name": torch.cuda.get_device_name(local), **_measure_gpu(torch)}
    if gpus * nodes > 1:
        limit = timedelta(seconds=plan["timeout_s"])
        store = TCPStore(plan["main_address"], plan["port"], is_master=False, wait_for_workers=False, timeout=limit)  # the preflight's
        dist.init_process_group(
            "nccl", store=PrefixStore("nccl", store), rank=node * gpus + local, world_size=nodes * gpus,
            timeout=limit, device_id=torch.device("cuda", local),
        )  # fmt: skip
        if gpus > 1:
            inside = [dist.new_group(list(range(first, first + gpus))) for first in range(0, nodes * gpus, gpus)][node]
            found["inside_gbs"] = _all_reduce_gbs(torch, dist, inside, gpus)
        if nodes > 1:
            found["across_gbs"] = _all_reduce_gbs(torch, dist, None, nodes * gpus)
        dist.barrier()
        dist.destroy_process_group()
    print(json.dumps(found), flush=True)
    return 0


def _measure_gpu(torch: Any) -> dict[str, float]:
    """Measure bf16 matrix products in TFLOP/s, and copies in device memory (read and write) in GB/s."""
    a, b = (torch.randn(_SIDE, _SIDE, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    products = _per_second(torch, lambda: a @ b, 2.0)
    source = torch.zeros(_GIB, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copies = _per_second(torch, lambda: target.copy_(source), 1.0)
    return {"gemm_tflops": round(products * 2 * _SIDE**3 / 1e12, 1), "copy_gbs": round(copies * 2 * _GIB / 1e9, 1)}


def _per_second(torch: Any, work: Callable[[], Any], seconds: float) -> float:
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(10):
            work()
        torch.cuda.synchronize()
        count += 10
    return count / (time.perf_counter() - began)


def _all_reduce_gbs(torch: Any, dist: Any, group: Any, ranks: int) -> float:
    """Return the bus bandwidth of a 1 GiB all-reduce in GB/s. On a network where 64 MiB takes more than 0.1 s, use 64 MiB."""
    took_s = 0.0
    for size in (_SMALL, _LARGE):
        tensor = torch.zeros(size // 4, device="cuda")
        dist.all_reduce(tensor, group=group)
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(_ROUNDS):
            dist.all_reduce(tensor, group=group)
        torch.cuda.synchronize()
        slowest = torch.tensor([(time.perf_counter() - began) / _ROUNDS], device="cuda")
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX, group=group)  # all ranks must make the same decision
        took_s = float(slowest.item())
        if took_s > 0.1:
            break
    return round(bus_gbs(size, ranks, took_s), 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
