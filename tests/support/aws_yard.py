"""A small AWS yard with a pool of each service, for tests of what stands on networks, buckets and pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components.aws import Bucket, GpuPool, JobService, Network

TAGS = {"owner": "ml@acme.io", "expires": "2027-03-31"}
SECRET = "arn:aws:secretsmanager:us-east-1:111122223333:secret:wandb-AbCdEf"
SUBJECT = "repo:acme/nlp-train:ref:refs/heads/main"
DIGEST = "0" * 64
BATCH = {"machine": "g6.12xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "batch"}
TRAINING = {"machine": "p5.48xlarge", "max_nodes": 4, "service": "sagemaker", "capacity": "spot", "price_usd_per_hour": 26.5}
MACHINES = {"machine": "p5.48xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "vms"}


def network() -> Network:
    """One that is there already."""
    return Network.adopt("net", vpc_id="vpc-0a", subnet_ids={"us-east-1b": "subnet-0b", "us-east-1a": "subnet-0a"}, tags=TAGS)


def declare(*, submitters: tuple[str, ...] = (SUBJECT,), pools: Mapping[str, Mapping[str, Any]] | None = None, **more: Any) -> JobService:
    """The yard; exports what stacks/program.py exports of it."""
    specs = {"l4": BATCH, "h100": TRAINING, "lab": MACHINES} if pools is None else pools
    net = network()
    data, runs = Bucket.adopt("data", bucket="acme-datasets", tags=TAGS), Bucket("runs", tags=TAGS)
    given = {"reads": [data], "writes": [runs], "secrets": {"wandb": SECRET}, "limits": {"gpus": 32}, "tags": TAGS, **more}
    made = [GpuPool(name, spec, network=net, tags=TAGS) for name, spec in specs.items()]
    jobs = JobService("train", pools=made, submitters=submitters, **given)
    pulumi.export("job_targets", jobs.targets)
    pulumi.export("submitter_role", jobs.submitter_role)
    return jobs
