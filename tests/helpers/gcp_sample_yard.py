"""A sample GCP yard: specs of each kind of pool, an adopted network, and short lists of the declared resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from gpuyard.components.gcp import Bucket, GpuPool, JobService, Network
from gpuyard.components.validation.submitters import Submitter

LATER = "2027-03-31"
TAGS = {"owner": "ml@acme.io", "expires": LATER, "team": "nlp"}
ZONE = "us-central1-a"
VPC = "projects/acme-ml/global/networks/shared"
SUBNET = "projects/acme-ml/regions/us-central1/subnetworks/gpu"
SECRET = "projects/acme-ml/secrets/wandb/versions/3"
SUBJECT = "repo:acme/nlp-train:ref:refs/heads/main"
RESERVED = {"mode": "reservation", "reservation": f"projects/acme-ml/zones/{ZONE}/reservations/h200"}
FLEX = {"mode": "flex_start", "max_hours": 24}
VERTEX = {"machine": "g2-standard-48", "max_nodes": 2, "service": "vertex", "capacity": "spot"}
VMS = {"machine": "a3-ultragpu-8g", "zone": ZONE, "max_nodes": 4, "service": "vms", "capacity": RESERVED}
GROUP = "gcp:compute/instanceGroupManager:InstanceGroupManager"
TEMPLATE, POLICY = "gcp:compute/instanceTemplate:InstanceTemplate", "gcp:compute/resourcePolicy:ResourcePolicy"
NETWORK, SUBNETWORK = "gcp:compute/network:Network", "gcp:compute/subnetwork:Subnetwork"
FIREWALL, SCHEDULE = "gcp:compute/firewall:Firewall", "gcp:cloudscheduler/job:Job"
HELD = "gcp:vertex/aiPersistentResource:AiPersistentResource"
_GRANTS = ("Account ", "IAMMember ", "IAMCustomRole ")


def adopted(name: str = "net") -> Network:
    """Return an adopted network."""
    return Network.adopt(name, vpc_id=VPC, subnet_ids={ZONE: SUBNET, "us-central1-b": SUBNET}, tags=TAGS)


def pool(spec: Mapping[str, Any], tags: Mapping[str, str] = TAGS, **more: Any) -> Any:
    """Return a program with one pool in an adopted network."""
    return lambda: GpuPool("pool", spec, network=adopted(), tags=tags, **more)


def declare(
    *, submitters: Sequence[Submitter] = (SUBJECT,), pools: Mapping[str, Mapping[str, Any]] | None = None, **more: Any
) -> JobService:
    """Declare the yard and export the same outputs as stacks/program.py."""
    network = adopted()
    specs = {"l4": VERTEX, "lab": VMS} if pools is None else pools
    data, runs = Bucket.adopt("data", bucket="acme-datasets", tags=TAGS), Bucket("runs", tags=TAGS)
    given = {"reads": [data], "writes": [runs], "secrets": {"wandb": SECRET}, "limits": {"gpus": 32}, "tags": TAGS, **more}
    made = [GpuPool(name, spec, network=network, tags=TAGS) for name, spec in specs.items()]
    jobs = JobService("train", pools=made, submitters=submitters, **given)
    pulumi.export("job_targets", jobs.targets)
    pulumi.export("submitter_role", jobs.submitter_role)
    pulumi.export("submitter_provider", jobs.submitter_provider)
    return jobs


def kinds(recorded: Any) -> list[str]:
    """Return type and name of every resource except those of identities."""
    found = [f"{request.type.rpartition(':')[2]} {request.name}" for request in recorded.resources.values()]
    return sorted(line for line in found if not line.startswith(_GRANTS))
