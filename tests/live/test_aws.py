"""A live smoke test: one small job on each service of a real AWS yard. `make live` runs it, `make test` never does: it costs money.

GPUYARD_LIVE_STACK names a stack that is up, GPUYARD_LIVE_POOLS its pools with the smallest machines (comma-separated, one for each
service to try). Each job costs at most a dollar and is always cancelled, and its record is removed from the run bucket.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from gpuyard.stacks.cli.targets import find_targets
from gpuyard.training_jobs.errors import GpuyardError
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import parse_job
from gpuyard.training_jobs.state import State
from gpuyard.training_jobs.target import JobTarget

STACK, POOLS = os.environ.get("GPUYARD_LIVE_STACK"), os.environ.get("GPUYARD_LIVE_POOLS", "")
MOST_USD = 1.0

pytestmark = [
    pytest.mark.live,
    pytest.mark.enable_socket,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not STACK or not POOLS, reason="GPUYARD_LIVE_STACK and GPUYARD_LIVE_POOLS name nothing"),
]


@pytest.fixture(scope="module")
def targets() -> dict[str, JobTarget]:
    return find_targets(STACK, None)[0]


@pytest.fixture
def runner(targets: dict[str, JobTarget]) -> Iterator[tuple[Runner, list[str]]]:
    runner, runs = Runner(targets, source=f"stack '{STACK}'"), list[str]()
    yield runner, runs
    for run in runs:
        with contextlib.suppress(GpuyardError):
            runner.cancel(run)
        remove(runner, run)


def remove(runner: Runner, run: str) -> None:
    """Remove the run's record and folder and nothing else. The bucket's own rule expires older versions."""
    import boto3

    bucket = urlsplit(runner._find(run).journal.url)
    assert bucket.scheme == "s3"
    assert run.startswith("gpuyard-live-")
    for folder in ("submissions", "runs"):
        prefix = f"{bucket.path.strip('/')}/gpuyard/{folder}/{run}/".lstrip("/")
        boto3.resource("s3").Bucket(bucket.netloc).objects.filter(Prefix=prefix).delete()


@pytest.mark.parametrize("pool", [name for name in POOLS.split(",") if name])
def test_a_job_of_a_minute(runner: tuple[Runner, list[str]], targets: dict[str, JobTarget], pool: str) -> None:
    yard, runs = runner
    price = targets[pool].price.usd_per_node_hour
    assert price is not None, "a pool whose price is unknown is not tried: its cost could not be held"
    assert price * 0.25 <= MOST_USD, "a quarter of an hour of one node costs more than a dollar: take a smaller machine"
    document = {
        "name": "gpuyard-live", "pool": pool, "launcher": "none", "preflight": "skip", "timeout": "15m", "queue_timeout": "40m",
        "max_cost_usd": MOST_USD, "retries": {"preempted": 0}, "command": ["python3", "-c", "print('hello from a node')"],
    }  # fmt: skip
    spec, key = parse_job(document), uuid.uuid4().hex
    first = yard.submit(spec, None, key=key)
    runs.append(first.status.run_id)
    assert first.created
    assert not yard.submit(spec, None, key=key).created
    status = yard.wait(first.status.run_id)
    assert status.state is State.SUCCEEDED, status
    assert "hello from a node" in [line.text for line in yard.logs(status.run_id)]
    assert status.cost.usd is not None
    assert status.cost.usd <= MOST_USD
    assert status.service.console_url
