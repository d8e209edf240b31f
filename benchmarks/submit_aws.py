"""Time of a submit to AWS against the bare boto3 calls it needs: `python benchmarks/submit_aws.py [N [batch|sagemaker]]`.

The bare calls look for the record, create it once, submit the job and store its id. Both run in turns against fakes that answer at
once. Without a service argument, both services are measured.
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
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import parse_job
from gpuyard.training_jobs.target import JobTarget, parse_target

ROOT = Path(__file__).resolve().parents[1]
_KEYS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def services() -> Iterator[str]:
    """Start the fakes of S3, Batch and SageMaker in another process, and set this process's environment to use them."""
    argv = [sys.executable, "-m", "benchmarks.fakes.aws"]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip() if process.stdout else ""
        os.environ.update(
            _KEYS,
            AWS_ENDPOINT_URL_S3=url,
            AWS_ENDPOINT_URL_BATCH=url,
            AWS_ENDPOINT_URL_SAGEMAKER=url,
            AWS_ENDPOINT_URL_STS="http://127.0.0.1:9",  # refuses: the fakes have no principals
            AWS_EC2_METADATA_DISABLED="true",
        )
        yield url
        process.terminate()


def make_target(kind: str) -> JobTarget:
    """Return the target of a pool of that service, as `pulumi up` writes it."""
    account = "123456789012"
    image = f"{account}.dkr.ecr.us-east-1.amazonaws.com/train@sha256:{'0' * 64}"
    common = {"version": 1, "kind": kind, "stack": "gpuyard/dev-aws", "pool": "l4", "machine": "g6.12xlarge", "accelerator": "L4"}
    sizes = {"gpus_per_node": 4, "nics_per_node": 1, "min_nodes": 0, "max_nodes": 4}
    place = {"region": "us-east-1", "account_id": account, "run_bucket": "s3://runs", "buckets": {"runs": "s3://runs"}, "spot": False}
    own: dict[str, dict[str, Any]] = {
        "batch": {
            "job_queue": f"arn:aws:batch:us-east-1:{account}:job-queue/l4", "vcpus": 48, "memory_mib": 180_000,
            "job_role": f"arn:aws:iam::{account}:role/job", "execution_role": f"arn:aws:iam::{account}:role/execution",
        },
        "sagemaker": {
            "instance_type": "ml.g6.12xlarge", "role": f"arn:aws:iam::{account}:role/training", "subnet_ids": ["subnet-0a"],
            "security_group_ids": ["sg-0a"],
        },
    }  # fmt: skip
    more = {"log_group": "/gpuyard/dev-aws", "job_prefix": "gpuyard-00000000-", "default_image": image}
    price = {"usd_per_node_hour": 4.6, "source": "list price"}
    return parse_target({**common, **sizes, **place, **own[kind], **more, "price": price})


def bare_submits(kind: str, body: dict[str, Any], record: bytes) -> Callable[[int], None]:
    """Return a function that makes the same calls with boto3 alone, with bodies of the same size."""
    import boto3

    s3, service = boto3.client("s3"), boto3.client(kind)
    name = {"batch": "jobName", "sagemaker": "TrainingJobName"}[kind]
    start = {"batch": "submit_job", "sagemaker": "create_training_job"}[kind]

    def submit(number: int) -> None:
        key = f"gpuyard/submissions/bare-{kind}-{number}/run.json"
        try:
            s3.get_object(Bucket="runs", Key=key)
        except s3.exceptions.NoSuchKey:
            etag = s3.put_object(Bucket="runs", Key=key, Body=record, IfNoneMatch="*")["ETag"]
        getattr(service, start)(**{**body, name: f"bare-{number}-0"})
        s3.put_object(Bucket="runs", Key=key, Body=record + b" ", IfMatch=etag)

    return submit


def milliseconds(values: list[float]) -> str:
    """Format median and 95th percentile."""
    ordered = sorted(values)
    return f"median {statistics.median(ordered) * 1e3:6.1f} ms   p95 {ordered[int(len(ordered) * 0.95)] * 1e3:6.1f} ms"


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def measure(url: str, kind: str, count: int) -> None:
    """Submit `count` different jobs one after another from one process, and as many with boto3 alone."""
    runner = Runner({"l4": make_target(kind)})

    def job(number: int) -> Any:
        return parse_job({"name": kind, "nodes": 2, "command": ["train.py"], "env": {"NUMBER": str(number)}})

    first = runner.submit(job(-1), None).status  # creates the clients and the code tarball
    requests = runner.plan(job(-2), None).requests
    with urlopen(f"{url}/runs/gpuyard/submissions/{first.run_id}/run.json") as answer:  # noqa: S310 our own server
        record = answer.read()
    bare = bare_submits(kind, requests[-1].body, record)
    bare(-1)
    specs = [job(number) for number in range(count)]
    before = len(json.load(urlopen(f"{url}/calls")))  # noqa: S310
    our_seconds, bare_seconds = [], []
    for number, spec in enumerate(specs):
        our_seconds.append(timed(lambda spec=spec: runner.submit(spec, None)))  # type: ignore[misc]
        bare_seconds.append(timed(lambda number=number: bare(number)))  # type: ignore[misc]
    calls = json.load(urlopen(f"{url}/calls"))[before:]  # noqa: S310
    kinds = Counter(call.split()[0] for call in calls if "/bare-" not in call)
    kinds["submitjob" if kind == "batch" else "createtrainingjob"] -= count  # the bare ones have no name in their path
    each = sum(kinds.values()) / count
    rate = f"{3600 / statistics.mean(our_seconds):,.0f} an hour"
    print(f"submit to {kind}, {count} jobs")
    print(f"  gpuyard                     {milliseconds(our_seconds)}   {rate}   (goal: p95 <= 100 ms, 20,000 an hour)")
    print(f"  bare boto3, the same calls  {milliseconds(bare_seconds)}")
    print(f"  ratio gpuyard / bare: {statistics.median(our_seconds) / statistics.median(bare_seconds):.2f}   (goal: <= 1.3)")
    print(f"  calls per submission: {each:.2f}   (goal: <= 4; {dict(kinds)})")


def main(count: int, kinds: list[str]) -> None:
    """Measure one service or both."""
    with services() as url:
        for kind in kinds:
            measure(url, kind, count)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, sys.argv[2:] or ["batch", "sagemaker"])
