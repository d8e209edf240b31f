"""Measures the nodes before a job's ranks start: devices, network, storage and clocks (docs/preflight.md).

Usage: python -m gpuyard.training_jobs.launch.preflight '<PreflightPlan as JSON>'; one process per node. The nodes exchange their
reports and reach the same verdict. Node 0 writes preflight.json. The network is measured with NCCL if all nodes have GPUs
(gpu.py), else with gloo.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict

from .. import objects
from ..node_exit import NodeExitError
from ..processes import shim_command
from ..progress import write_document
from ..run_record import FabricFloor
from .nvidia import list_gpus, parse_nccl
from .time_limit import GPUS_RESERVE_S, Watchdog, limit_s
from .verdict import Report, Verdict, bus_gbs, evaluate

__all__ = ["ClockOffset", "Exchange", "PreflightPlan", "main", "nccl_report"]

_MIB = 2**20
_TENSOR_MIB, _ROUNDS = 8, 5
_OBJECT_MIB = 16
Exchange = Callable[[Any], list[Any]]  # JSON values
"""Function that sends this node's object to all nodes and returns the objects of all nodes, ordered by node."""


class ClockOffset(TypedDict):
    """Seconds that this node's clock is ahead of node 0's, and the largest error of that number."""

    ahead_s: float
    within_s: float


class PreflightPlan(TypedDict):
    """The arguments that launch passes to the preflight.

    `port`: port of the store on node 0 for the nodes' results. `listen_fd`: the store's bound socket on node 0; None on other nodes.
    """

    rank: int
    nodes: int
    main_address: str
    port: int
    listen_fd: int | None
    attempt_url: str
    fabric: FabricFloor | None
    clock: ClockOffset | None


def main(argv: list[str]) -> int:
    """Measure, print and write the verdict. Returns 0, 69 (devices or network) or 74 (storage, or timed out)."""
    plan: PreflightPlan = json.loads(argv[0])
    began = time.monotonic()
    skipped: list[str] = []
    gpus = list_gpus()  # has its own time limit
    watchdog = Watchdog(limit_s(plan["nodes"], len(gpus)))
    report: Report = {"node": plan["rank"], "gpus": gpus, "clock": plan["clock"]}
    watchdog.enter("storage")
    report["storage"] = _storage(plan)
    reports = [report]
    if not report["gpus"]:
        skipped.append("GPU, NCCL: no GPU on this node")
    try:
        watchdog.enter("waiting for the other nodes")
        dist, exchange = _join_nodes(plan, skipped)
        counts = exchange(len(report["gpus"]))
        watchdog.enter("the network")
        report |= _network(plan, counts, dist, skipped)
        watchdog.enter("waiting for the other nodes")
        reports = exchange(report)
        if dist:
            dist.barrier()  # node 0's store must outlive the exchange
            dist.destroy_process_group()
    except (OSError, RuntimeError) as error:
        report["all_reduce"] = {"error": str(error).splitlines()[0]}
    watchdog.enter("writing the verdict")
    verdict = evaluate(reports, plan["fabric"])
    for text in verdict.failures:
        print(f"gpuyard: preflight failed: {text}", file=sys.stderr, flush=True)
    if plan["rank"] == 0:
        for text in verdict.warnings:
            print(f"gpuyard: preflight: {text}", flush=True)
        document = _document(verdict, reports, skipped, time.monotonic() - began)
        write_document(f"{plan['attempt_url']}/preflight.json", document)
        print(_summary(document), flush=True)
    watchdog.stop()
    return verdict.code


def _join_nodes(plan: PreflightPlan, skipped: list[str]) -> tuple[Any, Exchange]:
    """Join a gloo group of one process per node. Returns torch.distributed and the exchange function.

    With one node or without torch there is no group: then None is returned instead of torch.distributed.
    """
    if plan["nodes"] == 1:
        skipped.append("all-reduce between nodes: the job has one node")
        return None, lambda own: [own]
    try:
        import torch.distributed as dist
    except ModuleNotFoundError:
        skipped.append("all-reduce: torch is not installed on the node")
        return None, lambda own: [own]
    rank, nodes, limit = plan["rank"], plan["nodes"], timedelta(seconds=2 * limit_s(plan["nodes"], 0))
    store = _open_store(plan, limit)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=nodes, timeout=limit)
    rounds = iter(range(1000))

    def exchange(own: Any) -> list[Any]:
        number = next(rounds)
        store.set(f"preflight/{number}/{rank}", json.dumps(own))
        return [json.loads(store.get(f"preflight/{number}/{node}")) for node in range(nodes)]

    return dist, exchange


def _open_store(plan: PreflightPlan, limit: timedelta) -> Any:
    """Open the store on node 0. It listens on node 0's own address; torch's default is all interfaces."""
    from torch._C._distributed_c10d import TCPStore

    is_main = plan["rank"] == 0
    return TCPStore(
        plan["main_address"], plan["port"], is_master=is_main, wait_for_workers=False, timeout=limit, master_listen_fd=plan["listen_fd"]
    )


def _network(plan: PreflightPlan, counts: list[int], dist: Any, skipped: list[str]) -> Report:
    """Measure the all-reduce: with NCCL if all nodes have the same number of GPUs, else with gloo."""
    if min(counts) > 0 and len(set(counts)) == 1:
        try:
            import torch

            if torch.cuda.device_count() >= counts[0]:
                return _nccl(plan, counts[0])
            skipped.append(f"GPU, NCCL: torch {torch.__version__} sees {torch.cuda.device_count()} of {counts[0]} GPUs")
        except ModuleNotFoundError:
            skipped.append("GPU, NCCL: torch is not installed on the node")
    return {"all_reduce": _gloo(dist, plan["nodes"])} if dist else {}


def _gloo(dist: Any, nodes: int) -> Report:
    import torch

    tensor = torch.ones(_TENSOR_MIB * _MIB // 4)
    dist.all_reduce(tensor)
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        dist.all_reduce(tensor)
    busbw = bus_gbs(_TENSOR_MIB * _MIB, nodes, (time.perf_counter() - began) / _ROUNDS)
    return {"backend": "gloo", "busbw_gbs": round(busbw, 3), "mib": _TENSOR_MIB, "nodes": nodes}


def _nccl(plan: PreflightPlan, gpus: int) -> Report:
    """Run gpu.py once per GPU and read NCCL's log. The tests cover only failures, because no GPU was available."""
    with tempfile.TemporaryDirectory() as folder:
        log = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET", "NCCL_DEBUG_FILE": f"{folder}/%h.%p"}
        own = [*shim_command(os.getpid()), sys.executable, "-P", "-m", f"{__package__}.gpu"]
        timeout_s = limit_s(plan["nodes"], gpus) - GPUS_RESERVE_S
        opens_store = plan["nodes"] == 1 and gpus > 1  # with more nodes _join_nodes has opened it
        own_store = _open_store(plan, timedelta(seconds=timeout_s)) if opens_store else None
        plans = [{**plan, "local": local, "gpus": gpus, "timeout_s": timeout_s} for local in range(gpus)]
        ranks = [
            subprocess.Popen([*own, json.dumps(each)], env={**os.environ, **log}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for each in plans
        ]
        try:
            deadline = time.monotonic() + timeout_s
            outputs = [rank.communicate(timeout=max(1.0, deadline - time.monotonic())) for rank in ranks]
        except subprocess.TimeoutExpired:
            return {"gpu": {"error": f"the GPU and NCCL checks timed out after {timeout_s:.0f} s", "timed_out": True}}
        finally:
            for rank in ranks:
                rank.kill()
                rank.communicate()
            del own_store
        log_text = "".join(path.read_text(errors="replace") for path in sorted(Path(folder).iterdir()))
    for rank, (_, errors) in zip(ranks, outputs, strict=True):
        if rank.returncode != 0:
            last = (errors.strip().splitlines() or ["no output"])[-1]
            return {"gpu": {"error": f"a GPU's process exited with code {rank.returncode}: {last}"}}
    return nccl_report([json.loads(out.splitlines()[-1]) for out, _ in outputs], log_text, plan["nodes"])


def nccl_report(measured: list[Report], log: str, nodes: int) -> Report:
    """Build this node's report from the results of its GPU processes. The slowest rank decides the network's bandwidth."""
    report: Report = {"gpu": {"measured": measured}}
    for key, name in (("inside_gbs", "all_reduce_inside"), ("across_gbs", "all_reduce")):
        rates = [one[key] for one in measured if key in one]
        if rates:
            report[name] = {"backend": "nccl", "busbw_gbs": min(rates), "nodes": nodes if name == "all_reduce" else 1}
    if "all_reduce" in report:
        report["all_reduce"] |= parse_nccl(log)
    return report


def _storage(plan: PreflightPlan) -> Report:
    url = f"{plan['attempt_url']}/preflight-{plan['rank']}.bin"
    data = os.urandom(_MIB) * _OBJECT_MIB
    began = time.perf_counter()
    try:
        try:
            objects.write(url, data)
            written = time.perf_counter()
            if objects.read(url) != data:
                raise OSError(f"{url}: the bytes that were read differ from those just written")
            done = time.perf_counter()
        finally:
            objects.remove(url)
    except (OSError, RuntimeError, NodeExitError) as error:
        return {"error": (str(error).splitlines() or [type(error).__name__])[0]}
    megabytes = len(data) / 1e6
    return {"write_mbs": round(megabytes / (written - began), 1), "read_mbs": round(megabytes / (done - written), 1)}


def _document(verdict: Verdict, reports: list[Report], skipped: list[str], took_s: float) -> Report:
    names = ("all_reduce", "all_reduce_inside", "storage", "gpu")
    return {
        "verdict": verdict.status, "checks": {name: reports[0][name] for name in names if name in reports[0]}, "skipped": skipped,
        "failures": verdict.failures, "warnings": verdict.warnings, "nodes": reports, "took_s": round(took_s, 1),
    }  # fmt: skip


def _summary(document: Report) -> str:
    parts, checks = [], document["checks"]
    if "busbw_gbs" in checks.get("all_reduce", {}):
        over = checks["all_reduce"].get("transport") or checks["all_reduce"]["backend"]
        parts.append(f"{over} all-reduce {checks['all_reduce']['busbw_gbs']:.1f} GB/s")
    if "write_mbs" in checks.get("storage", {}):
        parts.append(f"storage {checks['storage']['write_mbs']:.0f} MB/s")
    skipped = "; ".join(document["skipped"]) or "nothing"
    return f"preflight {document['verdict']}: {', '.join(parts) or 'nothing measured'} (skipped: {skipped})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
