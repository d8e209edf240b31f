"""A local pool and run bucket on disk, as the components make them, and a small program for its nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpuyard.training_jobs.run_layout import record_path
from gpuyard.training_jobs.spec import JobSpec, parse_job
from gpuyard.training_jobs.target import JobTarget, parse_target

# The program of a node in tests of queue and supervisor, not of launch. The job's env controls it.
NODE_PROGRAM = """
import json, os, signal, subprocess, sys, time, urllib.parse
run = urllib.parse.urlsplit(os.environ["GPUYARD_RUN_URL"]).path
os.makedirs(run, exist_ok=True)
record = json.load(open(urllib.parse.urlsplit(os.environ["GPUYARD_RECORD_URL"]).path))["submissions"][int(os.environ["GPUYARD_SUBMISSION"])]
env, rank = record["job"]["env"], int(os.environ["GPUYARD_NODE_RANK"])
if env.get("DEAF"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if env.get("CHILD"):
    subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"],
                     start_new_session=True)
with open(os.path.join(run, "ran"), "a") as ran:
    ran.write(f"{os.environ['GPUYARD_SUBMISSION']} {rank} {time.time()}\\n")
print("node", rank, "runs", flush=True)
time.sleep(float(env.get(f"NAP_{rank}", env.get("NAP", "0"))))
sys.exit(int(env.get(f"CODE_{rank}", env.get("CODE", "0"))))
"""


def make_target(folder: Path, *, nodes: int = 2, **changes: Any) -> JobTarget:
    """Create a pool of `nodes` nodes and an empty run bucket in a folder. Return its target."""
    pool, bucket = folder / "pool", folder / "bucket"
    (pool / "leases").mkdir(parents=True)
    pool.chmod(0o700)
    bucket.mkdir()
    entries = [{"index": i, "address": f"127.77.0.{10 + i}", "slots": 2, "gpus": []} for i in range(nodes)]
    document = {"version": 1, "pool": "local", "machine": "auto", "accelerator": None, "nodes": entries}
    (pool / "pool.json").write_text(json.dumps(document))
    return parse_target(target_document(folder, nodes=nodes) | changes)


def target_document(folder: Path, *, nodes: int = 2) -> dict[str, Any]:
    """Return JobTarget v1 of that pool, as the stack exports it."""
    return {
        "version": 1,
        "kind": "local",
        "stack": "gpuyard/local",
        "pool": "local",
        "pool_dir": str(folder / "pool"),
        "run_bucket": f"file://{folder}/bucket",
        "buckets": {"runs": f"file://{folder}/bucket"},
        "machine": "auto",
        "accelerator": None,
        "gpus_per_node": 0,
        "slots_per_node": 2,
        "nics_per_node": 0,
        "min_nodes": 0,
        "max_nodes": nodes,
        "limits": {"gpus": None, "usd_per_job": None},
        "fabric": None,
        "price": {"usd_per_node_hour": 0.0, "source": "this machine: not billed"},
        "secrets": {},
        "available_until": None,
        "default_image": None,
    }


def job(name: str = "job", **keys: Any) -> JobSpec:
    """Return a small job."""
    return parse_job({"name": name, "command": ["train.py"], "preflight": "skip", **keys})


def run_dir(folder: Path, run_id: str) -> Path:
    """Return the folder that a run's nodes write on disk."""
    return folder / "bucket" / "gpuyard" / "runs" / run_id


def record_file(folder: Path, run_id: str) -> Path:
    """Return the file of a run's record on disk."""
    return folder / "bucket" / record_path(run_id)


def starts(folder: Path, run_id: str) -> list[tuple[int, int]]:
    """Return (submission, node) of every start of NODE_PROGRAM, in order."""
    ran = run_dir(folder, run_id) / "ran"
    lines = ran.read_text().splitlines() if ran.exists() else []
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]
