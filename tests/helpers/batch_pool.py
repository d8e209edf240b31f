"""A pool behind the fake AWS Batch: its target, the environment of a caller, and a small program for its nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.target import BatchTarget

IMAGE = "registry.example/train@sha256:" + "0" * 64
ACCOUNT = "123456789012"
QUEUE = f"arn:aws:batch:us-east-1:{ACCOUNT}:job-queue/yard-p5"
GROUP = "/gpuyard/yard"
CALLER = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_MAX_ATTEMPTS": "4"}

# The program of a node in tests of Batch, not of launch: like tests/helpers/local_pool.py's, with Batch's variables.
NODE_PROGRAM = """
import json, os, sys, time, urllib.parse
run = urllib.parse.urlsplit(os.environ["GPUYARD_RUN_URL"]).path
os.makedirs(run, exist_ok=True)
record = json.load(open(urllib.parse.urlsplit(os.environ["GPUYARD_RECORD_URL"]).path))["submissions"][int(os.environ["GPUYARD_SUBMISSION"])]
env, rank = record["job"]["env"], int(os.environ.get("AWS_BATCH_JOB_NODE_INDEX", "0"))
with open(os.path.join(run, "ran"), "a") as ran:
    ran.write(f"{os.environ['GPUYARD_SUBMISSION']} {rank} {time.time()}\\n")
print("node", rank, "runs", flush=True)
codes = env.get(f"CODE_{rank}", env.get("CODE", "0")).split(",")
naps = env.get(f"NAP_{rank}", env.get("NAP", "0")).split(",")
tried = int(os.environ["AWS_BATCH_JOB_ATTEMPT"]) - 1
time.sleep(float(naps[min(tried, len(naps) - 1)]))
sys.exit(int(codes[min(tried, len(codes) - 1)]))
"""


def target_document(bucket: str, **changes: Any) -> dict[str, Any]:
    """Return JobTarget v1 of the pool, as the stack exports it."""
    return {
        "version": 1,
        "kind": "batch",
        "stack": "gpuyard/dev-aws",
        "pool": "p5",
        "run_bucket": bucket,
        "buckets": {"runs": bucket},
        "machine": "p5.48xlarge",
        "accelerator": "H100",
        "gpus_per_node": 8,
        "nics_per_node": 4,
        "min_nodes": 0,
        "max_nodes": 3,
        "limits": {"gpus": None, "usd_per_job": None},
        "fabric": None,
        "price": {"usd_per_node_hour": 55.04, "source": "list price"},
        "secrets": {},
        "default_image": IMAGE,
        "region": "us-east-1",
        "account_id": ACCOUNT,
        "spot": False,
        "job_prefix": "gpuyard-69afb457-",
        "job_queue": QUEUE,
        "job_role": f"arn:aws:iam::{ACCOUNT}:role/yard-job",
        "execution_role": f"arn:aws:iam::{ACCOUNT}:role/yard-execution",
        "log_group": GROUP,
        "vcpus": 192,
        "memory_mib": 2_000_000,
        **changes,
    }


def batch_target(bucket: str = "file:///tmp/runs", **changes: Any) -> BatchTarget:
    """Return the target, validated."""
    return BatchTarget.model_validate(target_document(bucket, **changes))


def call_as_a_pipeline(monkeypatch: pytest.MonkeyPatch, **endpoints: str) -> None:
    """Set the environment of a pipeline: credentials and endpoints."""
    for name, value in {**CALLER, **{f"AWS_ENDPOINT_URL_{service.upper()}": url for service, url in endpoints.items()}}.items():
        monkeypatch.setenv(name, value)


def starts(bucket: Path, run_id: str) -> list[tuple[int, int]]:
    """Return (submission, node) of every start of NODE_PROGRAM, in order."""
    ran = bucket / "gpuyard" / "runs" / run_id / "ran"
    lines = ran.read_text().splitlines() if ran.exists() else []
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]
