"""A small AWS yard with a pool of each service, for tests of what stands on networks, buckets and pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components.aws import Bucket, JobService
from components.aws.account import AwsComponent
from components.base import checked
from components.spec import GpuPoolSpec

TAGS = {"owner": "ml@acme.io", "expires": "2027-03-31"}
SECRET = "arn:aws:secretsmanager:us-east-1:111122223333:secret:wandb-AbCdEf"
SUBJECT = "repo:acme/nlp-train:ref:refs/heads/main"
DIGEST = "0" * 64
BATCH = {"machine": "g6.12xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "batch"}
TRAINING = {"machine": "p5.48xlarge", "max_nodes": 4, "service": "sagemaker", "capacity": "spot", "price_usd_per_hour": 26.5}
MACHINES = {"machine": "p5.48xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "vms"}


class GpuPool(AwsComponent):
    """Stands in for the real one."""

    def __init__(self, name: str, spec: Mapping[str, Any], tags: Mapping[str, str] = TAGS) -> None:
        self.spec = checked(GpuPoolSpec, spec, f"GpuPool {name}", self.cloud)
        super().__init__("GpuPool", name, self.spec.model_dump(exclude_unset=True), tags, None)
        held = self.spec.service == "sagemaker"
        self.node_role_name = None if held else _known(f"{name}-node-role-1a2b")
        self.compute_environment_arn = _known(f"arn:aws:batch:us-east-1:111122223333:compute-environment/{name}") if not held else None
        self.security_group_id, self.subnet_ids = _known("sg-0a"), [_known("subnet-0b"), _known("subnet-0a")]
        self.register_outputs({})


def _known(value: str) -> pulumi.Output[str]:
    return pulumi.Output.from_input(value)


def declare(*, submitters: tuple[str, ...] = (SUBJECT,), pools: Mapping[str, Mapping[str, Any]] | None = None, **more: Any) -> JobService:
    """The yard; exports what stacks/program.py exports of it."""
    specs = {"l4": BATCH, "h100": TRAINING, "lab": MACHINES} if pools is None else pools
    data, runs = Bucket.adopt("data", bucket="acme-datasets", tags=TAGS), Bucket("runs", tags=TAGS)
    given = {"reads": [data], "writes": [runs], "secrets": {"wandb": SECRET}, "limits": {"gpus": 32}, "tags": TAGS, **more}
    jobs = JobService("train", pools=[GpuPool(name, spec) for name, spec in specs.items()], submitters=submitters, **given)
    pulumi.export("job_targets", jobs.targets)
    pulumi.export("submitter_role", jobs.submitter_role)
    return jobs
