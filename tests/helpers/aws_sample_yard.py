"""A sample AWS yard with a pool of each service, for tests that need networks, buckets and pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from gpuyard.components.aws import Bucket, GpuPool, JobService, Network

TAGS = {"owner": "ml@acme.io", "expires": "2027-03-31"}
SECRET = "arn:aws:secretsmanager:us-east-1:111122223333:secret:wandb-AbCdEf"
SUBJECT = "repo:acme/nlp-train:ref:refs/heads/main"
SUBNETS = {"us-east-1a": "subnet-0000000000000000a", "us-east-1b": "subnet-0000000000000000b"}
DIGEST = "0" * 64
BATCH = {"machine": "g6.12xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "batch"}
TRAINING = {"machine": "p5.48xlarge", "max_nodes": 4, "service": "sagemaker", "capacity": "spot", "price_usd_per_hour": 26.5}
MACHINES = {"machine": "p5.48xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "vms"}


def gpu_pool(name: str, spec: Mapping[str, Any], network: Network | None = None) -> GpuPool:
    """Return a pool in `network`; None = in a new network."""
    return GpuPool(name, spec, network=network or _network(f"{name}-net"), tags=TAGS)


def _network(name: str) -> Network:
    return Network.adopt(name, vpc_id="vpc-0a1b2c3d4e5f60718", subnet_ids=SUBNETS, tags=TAGS)


def declare(*, submitters: tuple[str, ...] = (SUBJECT,), pools: Mapping[str, Mapping[str, Any]] | None = None, **more: Any) -> JobService:
    """Declare the yard and export the same outputs as stacks/program.py."""
    specs = {"l4": BATCH, "h100": TRAINING, "lab": MACHINES} if pools is None else pools
    network = _network("net")
    data, runs = Bucket.adopt("data", bucket="acme-datasets", tags=TAGS), Bucket("runs", tags=TAGS)
    given = {"reads": [data], "writes": [runs], "secrets": {"wandb": SECRET}, "limits": {"gpus": 32}, "tags": TAGS, **more}
    jobs = JobService("train", pools=[gpu_pool(name, spec, network) for name, spec in specs.items()], submitters=submitters, **given)
    pulumi.export("job_targets", jobs.targets)
    pulumi.export("submitter_role", jobs.submitter_role)
    return jobs
