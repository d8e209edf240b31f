"""What the engine tests expect of each cloud's committed stacks, and a team's own program for each cloud."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
_OWN = """
import pulumi
from gpuyard.components.CLOUD import Bucket, GpuPool, JobService, Network

TAGS = {"owner": "ml@acme.io", "expires": "2027-03-31"}
hidden = pulumi.Config().require_secret("hidden")
net = Network.adopt("net", vpc_id="NETWORK", subnet_ids={"ZONE": SUBNET}, tags=TAGS)
data = Bucket.adopt("data", bucket=BUCKET, tags=TAGS)
runs = Bucket("runs", {"on_destroy": "keep"}, tags=TAGS)
pool = GpuPool("POOL", {"machine": "MACHINE", "zone": "ZONE", "max_nodes": 1, "service": "SERVICE"}, network=net, tags=TAGS)
jobs = JobService("train", pools=[pool], reads=[data], writes=[runs], tags=TAGS)
pulumi.export("job_targets", jobs.targets)
"""


@dataclass(frozen=True)
class Case:
    """One cloud, with the stacks dev-CLOUD and prod-CLOUD."""

    cloud: str
    dev: frozenset[str]
    """The pools of the dev stack that accept jobs."""
    prod: frozenset[str]
    change: tuple[str, str]
    """An edit of the dev stack's file that concerns one pool."""
    changed: str
    """That pool."""
    list_of_targets: str
    """Type of the object that is targets.json. Empty: `up` writes none."""
    content: Callable[[Document], str]
    """Return the text of such an object from its inputs."""
    kept: tuple[str, ...]
    """Prefixes of the types that a destroy of the prod stack leaves."""
    boot: Callable[[Document], list[str]]
    """Return the boot scripts in a resource's inputs."""
    own: Mapping[str, str]
    """The parts of a team's own program."""
    secret: str
    """The value that is a secret in it: on AWS a bucket's name. Elsewhere a grant's id contains the name, and no engine can hide an id."""
    secret_targets: bool
    """Whether that value is in the job targets, which are then secret too."""
    config: str
    """The provider settings of such a program."""

    @property
    def own_program(self) -> str:
        """Return a program that adopts a network and a bucket and gives a part of one of them, `hidden`, as a secret."""
        text = _OWN.replace("CLOUD", self.cloud)
        for word, value in self.own.items():
            text = text.replace(word, value)
        return text


def _user_data(inputs: Document) -> list[str]:
    return [base64.b64decode(inputs["userData"]).decode()] if "userData" in inputs else []


def _metadata(inputs: Document) -> list[str]:
    return [str(text) for text in inputs.get("metadata", {}).values()]


def _custom_data(inputs: Document) -> list[str]:
    data = ((inputs.get("virtualMachineProfile") or {}).get("osProfile") or {}).get("customData")
    return [base64.b64decode(data).decode()] if data else []


def _content(inputs: Document) -> str:
    return str(inputs["content"])


AWS = Case(
    cloud="aws",
    dev=frozenset({"l4", "l4-spot"}),
    prod=frozenset({"h200", "h100-spot"}),
    change=("max_nodes: 2 ", "max_nodes: 3 "),
    changed="l4",
    list_of_targets="aws:s3/bucketObjectv2:BucketObjectv2",
    content=_content,
    kept=("aws:s3", "aws:kms", "aws:ecr"),
    boot=_user_data,
    own={
        "NETWORK": "vpc-0a1b2c3d4e5f60718",
        "SUBNET": '"subnet-0a1b2c3d4e5f60718"',
        "BUCKET": "hidden",
        "ZONE": "us-east-1a",
        "POOL": "l4",
        "MACHINE": "g6.12xlarge",
        "SERVICE": "batch",
    },
    secret="bucket-nobody-may-know",
    secret_targets=True,
    config="  aws:region: {value: us-east-1}\n",
)
GCP = Case(
    cloud="gcp",
    dev=frozenset({"l4", "l4-spot"}),
    prod=frozenset({"h200"}),
    change=("capacity: on_demand", "min_nodes: 1"),
    changed="l4",
    list_of_targets="gcp:storage/bucketObject:BucketObject",
    content=_content,
    kept=("gcp:storage", "gcp:kms", "gcp:compute/instanceTemplate"),
    boot=_metadata,
    own={
        "NETWORK": "projects/acme-network/global/networks/shared",
        "SUBNET": "hidden",
        "BUCKET": '"acme-datasets"',
        "ZONE": "us-central1-a",
        "POOL": "l4",
        "MACHINE": "g2-standard-48",
        "SERVICE": "vms",
    },
    secret="projects/acme-network/regions/us-central1/subnetworks/nobody-may-know",
    secret_targets=False,
    config="  gcp:project: {value: acme-ml}\n  gcp:region: {value: us-central1}\n",
)
_GROUPS = "/subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups"
_VNET = f"{_GROUPS}/net/providers/Microsoft.Network/virtualNetworks/shared"
_CONTAINER = f"{_GROUPS}/data/providers/Microsoft.Storage/storageAccounts/acme/blobServices/default/containers/nlp"
AZURE = Case(
    cloud="azure",
    dev=frozenset({"h100", "h100-spot"}),
    prod=frozenset({"h100"}),
    change=("capacity: on_demand", "min_nodes: 1"),
    changed="h100",
    list_of_targets="",
    content=_content,
    kept=("azure-native:storage", "azure-native:resources"),
    boot=_custom_data,
    own={
        "NETWORK": _VNET,
        "SUBNET": "hidden",
        "BUCKET": f'"{_CONTAINER}"',
        "ZONE": "1",
        "POOL": "h100",
        "MACHINE": "Standard_NC24ads_A100_v4",
        "SERVICE": "vms",
    },
    secret=f"{_VNET}/subnets/nobody-may-know",
    secret_targets=False,
    config="  azure-native:location: {value: eastus}\n",
)
CASES = (AWS, GCP, AZURE)
