"""Time of a submit to a local pool against starting one bare Python process: `python benchmarks/submit_local.py [N]`.

A sleeping job occupies the pool's only node, so that only the submit is measured: packing, journal and queue.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import parse_job
from gpuyard.training_jobs.target import JobTarget, parse_target


def make_target(folder: Path) -> JobTarget:
    """Return the target of a pool of one node, as `pulumi up` writes it."""
    (folder / "pool" / "leases").mkdir(parents=True)
    (folder / "pool").chmod(0o700)
    (folder / "bucket").mkdir()
    node = {"index": 0, "address": "127.0.0.1", "slots": 1, "gpus": []}
    document = {"version": 1, "pool": "local", "machine": "auto", "accelerator": None, "nodes": [node]}
    (folder / "pool" / "pool.json").write_text(json.dumps(document))
    bucket = f"file://{folder}/bucket"
    common = {"version": 1, "kind": "local", "stack": "gpuyard/local", "pool": "local", "machine": "auto", "accelerator": None}
    sizes = {"gpus_per_node": 0, "slots_per_node": 1, "min_nodes": 0, "max_nodes": 1}
    price = {"usd_per_node_hour": 0.0, "source": "this machine"}
    place = {"pool_dir": str(folder / "pool"), "run_bucket": bucket, "buckets": {"runs": bucket}}
    return parse_target({**common, **sizes, **place, "price": price})


def milliseconds(values: list[float]) -> str:
    """Format median and 95th percentile."""
    ordered = sorted(values)
    return f"median {statistics.median(ordered) * 1e3:6.1f} ms   p95 {ordered[int(len(ordered) * 0.95)] * 1e3:6.1f} ms"


def main(count: int) -> None:
    """Submit `count` different jobs one after another from one process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runner = Runner({"local": make_target(folder)})
        nap = {"launcher": "none", "command": ["sleep", "3600"], "preflight": "skip"}
        holder = runner.submit(parse_job({"name": "holder", **nap}), None).status.run_id
        seconds = []
        for number in range(count):
            spec = parse_job({"name": "job", **nap, "env": {"NUMBER": str(number)}})
            start = time.perf_counter()
            runner.submit(spec, None)
            seconds.append(time.perf_counter() - start)
        bare = []
        for _ in range(30):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-S", "-c", "pass"], check=True)
            bare.append(time.perf_counter() - start)
        tenth = max(1, count // 10)
        for ticket in (folder / "pool" / "queue").iterdir():
            ticket.unlink()
        runner.cancel(holder)
    rate = f"{3600 / statistics.mean(seconds):,.0f} an hour"
    print(f"submit, {count} jobs            {milliseconds(seconds)}   {rate}   (goal: <= 100 ms, 20,000 an hour)")
    print(f"  the first {tenth} / last {tenth}  {milliseconds(seconds[:tenth])}  /  {milliseconds(seconds[-tenth:])}")
    print(f"one bare `python -S -c pass`  {milliseconds(bare)}")
    print(f"ratio submit / bare process: {statistics.median(seconds) / statistics.median(bare):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
