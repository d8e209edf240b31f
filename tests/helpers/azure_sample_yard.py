"""A sample Azure yard with a pool of each service, for tests that need networks, buckets and pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from gpuyard.components.azure import Bucket, GpuPool, JobService, Network

TAGS = {"owner": "ml@acme.io", "expires": "2999-03-31"}
SECRET = "https://acme.vault.azure.net/secrets/wandb"
SUBJECT = "repo:acme/nlp-train:ref:refs/heads/main"
SUBSCRIPTION = "/subscriptions/sub/resourceGroups/hub/providers"
DATA = f"{SUBSCRIPTION}/Microsoft.Storage/storageAccounts/acmedata/blobServices/default/containers/nlp"
VNET = f"{SUBSCRIPTION}/Microsoft.Network/virtualNetworks/hub"
SUBNET = f"{VNET}/subnets/gpus"
RESERVED = {"mode": "reservation", "reservation": f"{SUBSCRIPTION}/Microsoft.Compute/capacityReservationGroups/gpus"}
VMS = {"machine": "Standard_ND96isr_H100_v5", "zone": "1", "max_nodes": 4, "service": "vms"}
CLUSTER = {"machine": "Standard_ND96isr_H100_v5", "max_nodes": 4, "service": "azureml", "capacity": "spot", "price_usd_per_hour": 49.2}


def token(kind: str) -> str:
    """Return Pulumi's type token of a short one such as `network:Subnet`."""
    return f"azure-native:{kind}"


def kinds(recorded: Any, begin: str = "") -> list[str]:
    """Return type and name of the resources whose names begin with a prefix."""
    return sorted(
        f"{request.type.rpartition(':')[2]} {request.name}" for request in recorded.resources.values() if request.name.startswith(begin)
    )


def declare(
    *,
    submitters: tuple[str, ...] = (SUBJECT,),
    pools: Mapping[str, Mapping[str, Any]] | None = None,
    open_to: tuple[str, ...] = (),
    tags: Mapping[str, str] = TAGS,
    **more: Any,
) -> JobService:
    """Declare the yard and export the same outputs as stacks/program.py."""
    specs = {"h100": CLUSTER, "lab": VMS} if pools is None else pools
    network = Network("net", {"zones": ["1"]}, tags=tags)
    data, runs = Bucket.adopt("data", bucket=DATA, tags=tags), Bucket("runs", {"open_to": list(open_to)}, tags=tags)
    given = {"reads": [data], "writes": [runs], "secrets": {"wandb": SECRET}, "limits": {"gpus": 32}, "tags": tags, **more}
    made = [GpuPool(name, spec, network=network, tags=tags) for name, spec in specs.items()]
    jobs = JobService("train", pools=made, submitters=submitters, **given)
    pulumi.export("job_targets", jobs.targets)
    pulumi.export("submitter_role", jobs.submitter_role)
    pulumi.export("publish", jobs.publish_command)
    return jobs
