"""Measures, before the job's own ranks start, what they will stand on: gloo all-reduce over the nodes, and storage.

Usage: python -m training_jobs.launch.preflight '<JSON of launch>'; one process per node. Node 0 leaves preflight.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from glob import glob
from typing import Any

from . import files
from .ended import IO_ERROR, EndedError
from .hook import DONE, FABRIC
from .progress import leave

_MIB = 2**20
_TENSOR_MIB, _ROUNDS = 8, 5
_OBJECT_MIB = 16


def main(argv: list[str]) -> int:
    """Measure, print one line on node 0, leave the verdict. Returns 0, 69 (nodes cannot talk) or 74 (storage)."""
    plan = json.loads(argv[0])
    checks: dict[str, Any] = {}
    skipped = [f"GPU, NCCL: {'not measured yet' if glob('/dev/nvidia[0-9]*') else 'none here'}"]
    code = DONE
    for name, check, failed in (("all_reduce", _all_reduce, FABRIC), ("storage", _storage, IO_ERROR)):
        try:
            found = check(plan)
            if isinstance(found, str):
                skipped.append(found)
            else:
                checks[name] = found
        except (OSError, RuntimeError, EndedError) as error:
            checks[name] = {"error": str(error).splitlines()[0]}
            print(f"gpuyard: preflight failed on node {plan['rank']}: {name}: {checks[name]['error']}", file=sys.stderr, flush=True)
            code = code or failed
    if plan["rank"] == 0:
        verdict = "ok" if code == DONE else "failed"
        leave(f"{plan['attempt_url']}/preflight.json", {"verdict": verdict, "checks": checks, "skipped": skipped})
        print(_sentence(verdict, checks, skipped), flush=True)
    return code


def _all_reduce(plan: dict[str, Any]) -> dict[str, Any] | str:
    if plan["nodes"] == 1:
        return "all-reduce: one node"
    try:
        import torch
        import torch.distributed as dist
    except ModuleNotFoundError:
        return "all-reduce: torch is not installed on the node"
    where = f"tcp://{plan['main_address']}:{plan['port']}"
    dist.init_process_group("gloo", init_method=where, rank=plan["rank"], world_size=plan["nodes"], timeout=timedelta(seconds=60))
    tensor = torch.ones(_TENSOR_MIB * _MIB // 4)
    dist.all_reduce(tensor)
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        dist.all_reduce(tensor)
    took = time.perf_counter() - began
    dist.barrier()
    dist.destroy_process_group()
    # Bus bandwidth, as nccl-tests count it: what each link carried, whatever the number of nodes.
    moved = _ROUNDS * _TENSOR_MIB * _MIB * 2 * (plan["nodes"] - 1) / plan["nodes"]
    return {"backend": "gloo", "busbw_gbs": round(moved / took / 1e9, 3), "mib": _TENSOR_MIB, "nodes": plan["nodes"]}


def _storage(plan: dict[str, Any]) -> dict[str, Any]:
    url = f"{plan['attempt_url']}/preflight-{plan['rank']}.bin"
    data = os.urandom(_MIB) * _OBJECT_MIB
    began = time.perf_counter()
    try:
        files.write(url, data)
        written = time.perf_counter()
        if files.read(url) != data:
            raise OSError(f"{url} does not hold what was just written to it")
        done = time.perf_counter()
    finally:
        files.remove(url)
    megabytes = len(data) / 1e6
    return {"write_mbs": round(megabytes / (written - began), 1), "read_mbs": round(megabytes / (done - written), 1)}


def _sentence(verdict: str, checks: dict[str, Any], skipped: list[str]) -> str:
    parts = []
    if "busbw_gbs" in checks.get("all_reduce", {}):
        parts.append(f"gloo all-reduce {checks['all_reduce']['busbw_gbs']:.1f} GB/s")
    if "write_mbs" in checks.get("storage", {}):
        parts.append(f"storage {checks['storage']['write_mbs']:.0f} MB/s")
    return f"preflight {verdict}: {', '.join(parts) or 'nothing measured'} (skipped: {'; '.join(skipped)})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
