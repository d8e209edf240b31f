"""Submitting to AWS Batch against the bare boto3 calls it must make: `python benchmarks/submit_aws.py [N]`. The services answer at once.

The bare calls are those the promise needs: look for the record, write it once, submit, write the job's id down. Both are made in turn.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training_jobs.runner import Runner
from training_jobs.spec import parse_job
from training_jobs.target import JobTarget, parse_target

ROOT = Path(__file__).resolve().parents[1]
_KEYS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def services() -> Iterator[str]:
    """S3 and Batch in another process, and this process's variables pointing at them."""
    argv = [sys.executable, "-m", "benchmarks._at_once"]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip() if process.stdout else ""
        os.environ.update(_KEYS, AWS_ENDPOINT_URL_S3=url, AWS_ENDPOINT_URL_BATCH=url, AWS_EC2_METADATA_DISABLED="true")
        yield url
        process.terminate()


def make_target() -> JobTarget:
    """A pool behind a queue, as `pulumi up` leaves it."""
    account, image = "123456789012", f"registry.example/train@sha256:{'0' * 64}"
    common = {"version": 1, "kind": "batch", "stack": "gpuyard/dev-aws", "pool": "l4", "machine": "g6.12xlarge", "accelerator": "L4"}
    sizes = {"gpus_per_node": 4, "nics_per_node": 1, "min_nodes": 0, "max_nodes": 4, "vcpus": 48, "memory_mib": 180_000}
    roles = {"job_role": f"arn:aws:iam::{account}:role/job", "execution_role": f"arn:aws:iam::{account}:role/execution"}
    place = {"region": "us-east-1", "account_id": account, "run_bucket": "s3://runs", "buckets": {"runs": "s3://runs"}, "spot": False}
    service = {
        "job_queue": f"arn:aws:batch:us-east-1:{account}:job-queue/l4",
        "log_group": "/gpuyard/dev-aws",
        "job_prefix": "gpuyard-00000000-",
    }
    price = {"usd_per_node_hour": 4.6, "source": "list price"}
    return parse_target({**common, **sizes, **roles, **place, **service, "price": price, "default_image": image})


def bare_submits(body: dict[str, Any], record: bytes) -> Callable[[int], None]:
    """The same calls by boto3 alone, with bodies of the same size."""
    import boto3

    s3, batch = boto3.client("s3"), boto3.client("batch")

    def submit(number: int) -> None:
        key = f"gpuyard/runs/bare-{number}/run.json"
        try:
            s3.get_object(Bucket="runs", Key=key)
        except s3.exceptions.NoSuchKey:
            etag = s3.put_object(Bucket="runs", Key=key, Body=record, IfNoneMatch="*")["ETag"]
        batch.submit_job(**{**body, "jobName": f"bare-{number}-0"})
        s3.put_object(Bucket="runs", Key=key, Body=record + b" ", IfMatch=etag)

    return submit


def milliseconds(values: list[float]) -> str:
    """Median and 95th percentile."""
    ordered = sorted(values)
    return f"median {statistics.median(ordered) * 1e3:6.1f} ms   p95 {ordered[int(len(ordered) * 0.95)] * 1e3:6.1f} ms"


def timed(call: Callable[[], object]) -> float:
    """Seconds it takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main(count: int) -> None:
    """Submit `count` different jobs one after another through one process, and as often by boto3 alone."""
    with services() as url:
        target = make_target()
        runner = Runner({"l4": target})

        def job(number: int) -> Any:
            return parse_job({"name": "job", "nodes": 2, "command": ["train.py"], "env": {"NUMBER": str(number)}})

        first = runner.submit(job(-1), None).status  # makes the clients and the code tarball
        _, requests = runner.plan(job(-2), None)
        with urlopen(f"{url}/runs/gpuyard/runs/{first.run_id}/run.json") as answer:  # noqa: S310 our own server
            record = answer.read()
        bare = bare_submits(requests[1].body, record)
        bare(-1)
        specs = [job(number) for number in range(count)]
        before = len(json.load(urlopen(f"{url}/calls")))  # noqa: S310
        ours, theirs = [], []
        for number, spec in enumerate(specs):
            ours.append(timed(lambda spec=spec: runner.submit(spec, None)))  # type: ignore[misc]
            theirs.append(timed(lambda number=number: bare(number)))  # type: ignore[misc]
        calls = json.load(urlopen(f"{url}/calls"))[before:]  # noqa: S310
        own = [call for call in calls if "/bare-" not in call]
        kinds = Counter(call.split()[0] for call in own)
        kinds["submitjob"] -= count  # the bare ones carry no name in their path
        each = sum(kinds.values()) / count
        rate = f"{3600 / statistics.mean(ours):,.0f} an hour"
        print(f"submit, {count} jobs            {milliseconds(ours)}   {rate}   (goal: p95 <= 100 ms, 20,000 an hour)")
        print(f"bare boto3, the same calls    {milliseconds(theirs)}")
        print(f"ratio submit / bare: {statistics.median(ours) / statistics.median(theirs):.2f}   (goal: <= 1.3)")
        print(f"calls per submission: {each:.2f}   (goal: <= 4; {dict(kinds)})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
